"""Dynamic tanh: a squashing function in the place of a norm (Zhu et al., 2025, arXiv 2503.10622)."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel
from normlab.norms.shapes import check_dim, check_input


class DynamicTanh(nn.Module):
    """A squashing function without statistics in the place of a norm (Zhu et al., 2025, arXiv 2503.10622).

        y = tanh(alpha * x) * weight_c + bias_c         one learned alpha a layer

    Meant for transformers in the place of layer norm; the paper finds it worse than batch norm in convolutional nets.
    The same in training and evaluation.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        alpha: where the learned one starts.
    """

    batch_dependent, includes_activation = False, False

    def __init__(self, num_features: int, dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.num_features, self.dim, self.initial_alpha = (
            num_features,
            check_dim(dim),
            alpha,
        )
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Squash ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        weight, bias = (
            per_channel(self.weight, input.ndim),
            per_channel(self.bias, input.ndim),
        )
        return (torch.tanh(self.alpha * input) * weight + bias).to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, alpha={self.initial_alpha}"
