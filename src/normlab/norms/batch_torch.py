"""PyTorch's own batch normalization, built like the other norms."""

from typing import Any

import torch
from torch import nn

LAYERS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def torch_batch_norm(
    num_features: int,
    dim: int,
    sync: bool = False,
    *,
    bias: bool = True,
    **options: Any,
) -> nn.Module:
    """Build `torch.nn.BatchNorm1d`, `2d` or `3d`, or `torch.nn.SyncBatchNorm`.

    Formula, training and evaluation are those of `normlab.norms.BatchNorm`. Use it as
    the reference that other norms are compared with.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, the number in the name of PyTorch's class.
        sync: compute the statistics over all processes of a distributed run, which
            PyTorch can do on GPUs only.
        bias: learn a shift beside the scale.
        options: options of PyTorch's constructor.

    Raises:
        ValueError: `sync` is set and there is no GPU.

    References:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift", 2015, arXiv 1502.03167.
    """
    if not bias:  # older versions of PyTorch do not have the option
        options["bias"] = False
    if not sync:
        return LAYERS[dim](num_features, **options)
    if not torch.cuda.is_available():
        raise ValueError(
            "norm=torch norm.sync=true needs GPUs (torch.nn.SyncBatchNorm has no CPU "
            "version); use norm=custom"
        )
    return nn.SyncBatchNorm(num_features, **options)
