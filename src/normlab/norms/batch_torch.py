"""PyTorch's own batch normalization behind this project's factory."""

from typing import Any

import torch
from torch import nn


def torch_batch_norm(
    num_features: int,
    dim: int,
    sync: bool = False,
    *,
    bias: bool = True,
    **options: Any,
) -> nn.Module:
    """`torch.nn.BatchNorm1d`, `2d` or `3d`; with `sync`, `torch.nn.SyncBatchNorm`.

    Batch normalization (Ioffe and Szegedy, 2015, arXiv 1502.03167), with the formula of `normlab.norms.BatchNorm`.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        sync: statistics over all processes, which PyTorch does on GPUs only.
        bias: learn a shift beside the scale.
        options: of PyTorch's constructor.

    Raises:
        ValueError: `sync` where there is no GPU.
    """
    if not bias:  # older versions of PyTorch do not know the option
        options["bias"] = False
    if not sync:
        return {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dim](
            num_features, **options
        )
    if not torch.cuda.is_available():
        raise ValueError(
            "norm=torch norm.sync=true needs GPUs (torch.nn.SyncBatchNorm has no CPU version); use norm=custom"
        )
    return nn.SyncBatchNorm(num_features, **options)
