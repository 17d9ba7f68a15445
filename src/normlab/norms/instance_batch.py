"""Instance-batch norm: instance norm for some channels and batch norm for the rest."""

import torch
from torch import Tensor, nn

from normlab.norms.batch import BatchNorm
from normlab.norms.instance import InstanceNorm
from normlab.norms.shapes import check_dim, check_input


class InstanceBatchNorm(nn.Module):
    r"""Normalize the first channels as instance norm does, the others as batch norm.

    .. math::

        y_c = \begin{cases}
              \mathrm{InstanceNorm}(x)_c & c < \lfloor r C \rfloor \\
              \mathrm{BatchNorm}(x)_c & \text{else}
              \end{cases}

    - :math:`x`, ``(N, C, ...)``: the input, with channel c of C, counted from 0.
    - :math:`r`: the share `ratio` of the channels that instance norm gets.

    Both are layers of their own, `instance` and `batch`, with scale and shift. Vectors
    ``(N, C)`` have no positions, so that the channels of instance norm are returned
    unchanged, or refused.

    Use it in the early layers of convolutional networks that shall serve images of
    another look than those of the training.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        ratio: share r of the channels that instance norm gets, between 0 and 1.
        eps: added to the variances, against division by zero.
        momentum: weight of the new batch in the running averages of batch norm; None
            makes them the plain mean over all batches.
        affine: learn scale and shift.
        vectors: "identity" or "error", see `InstanceNorm`.

    Raises:
        ValueError: from the constructor for an unknown `dim` or `vectors`, and for a
            ratio that leaves one of the norms without channels; from the call as in
            `InstanceNorm` and `BatchNorm`.

    References:
        Pan, Luo, Shi and Tang, "Two at Once: Enhancing Learning and Generalization
        Capacities via IBN-Net", 2018, arXiv 1807.09441.
    """

    batch_dependent = True
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        ratio: float = 0.5,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        vectors: str = "identity",
    ) -> None:
        super().__init__()
        split = int(num_features * ratio)
        if not 0 < split < num_features:
            raise ValueError(
                "norm.ratio must leave channels for instance norm and for batch norm, "
                f"got {split} of {num_features} channels for instance norm"
            )
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.ratio = ratio
        self.split = split
        self.instance = InstanceNorm(split, dim, eps, affine, vectors)
        self.batch = BatchNorm(num_features - split, dim, eps, momentum, affine)

    def reset_parameters(self) -> None:
        """Set scales to 1 and shifts to 0, and forget every batch seen so far."""
        self.instance.reset_parameters()
        self.batch.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        first = self.instance(input[:, : self.split])
        rest = self.batch(input[:, self.split :])
        return torch.cat([first, rest], 1)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, ratio={self.ratio}"
