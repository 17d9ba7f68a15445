"""Global response normalization: channels compete by their length."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input, position_axes


class GlobalResponseNorm(nn.Module):
    r"""Strengthen the channels of a sample that respond more than the others.

    .. math::

        y_{ncp} = x_{ncp} + \gamma_c \, x_{ncp} \, r_{nc} + \beta_c
        \qquad
        r_{nc} = \frac{\lVert x_{nc} \rVert}
                 {\frac{1}{C} \sum_k \lVert x_{nk} \rVert + \epsilon}
        \qquad
        \lVert x_{nc} \rVert = \sqrt{\sum_p x_{ncp}^2}

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`r`, ``(N, C)``: the response of a channel in shares of the mean response of
      all channels of the sample.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`, both at
      first 0. The layer therefore begins as the identity.

    It keeps the scale of its input, so it does not make high learning rates possible.
    Training and evaluation are the same.

    Use it in convolutional blocks beside a norm, as ConvNeXt V2 does after the
    activation.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the mean response, against division by zero.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels.

    References:
        Woo, Debnath, Hu, Chen, Liu, Kweon and Xie, "ConvNeXt V2: Co-designing and
        Scaling ConvNets with Masked Autoencoders", 2023, arXiv 2301.00808.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(self, num_features: int, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set scale and shift to 0."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Scale ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        length = x.abs()
        if input.ndim > 2:
            axes = position_axes(input)
            length = torch.linalg.vector_norm(x, dim=axes, keepdim=True)
        response = length / (length.mean(1, keepdim=True) + self.eps)
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        y = x + x * response * weight + bias
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
