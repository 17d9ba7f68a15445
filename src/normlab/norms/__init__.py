"""Normalization layers.

Each is built as `norm(num_features, dim)`, with options of its own after these two, and
knows nothing of the network around it.
"""

from normlab.norms.batch import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from normlab.norms.batch_channel import BatchChannelNorm
from normlab.norms.batch_frozen import FrozenBatchNorm
from normlab.norms.batch_torch import torch_batch_norm
from normlab.norms.batch_variants import BatchRenorm, GhostBatchNorm, NoisyBatchNorm
from normlab.norms.bounded_tanh import BoundedTanh
from normlab.norms.dynamic_erf import DynamicErf
from normlab.norms.dynamic_tanh import DynamicTanh
from normlab.norms.evonorm import EvoNormB0, EvoNormS0
from normlab.norms.filter_response import FilterResponseNorm
from normlab.norms.global_response import GlobalResponseNorm
from normlab.norms.group import GroupNorm, LayerNorm
from normlab.norms.instance import InstanceNorm, LocalResponseNorm
from normlab.norms.instance_batch import InstanceBatchNorm
from normlab.norms.iterative_whitening import IterativeWhitening
from normlab.norms.moving_average import MovingAverageBatchNorm
from normlab.norms.on_weights import (
    centre_weights,
    limit_spectrum,
    normalize_weights,
    standardize_weights,
)
from normlab.norms.per_pixel import LayerNormPerPixel, RMSNorm
from normlab.norms.scale import ScaleNorm
from normlab.norms.seednorm import SeeDNorm
from normlab.norms.switchable import SwitchableNorm

__all__ = [
    "BatchChannelNorm",
    "BatchNorm",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchRenorm",
    "BoundedTanh",
    "DynamicErf",
    "DynamicTanh",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "GlobalResponseNorm",
    "GroupNorm",
    "InstanceBatchNorm",
    "InstanceNorm",
    "IterativeWhitening",
    "LayerNorm",
    "LayerNormPerPixel",
    "LocalResponseNorm",
    "MovingAverageBatchNorm",
    "NoisyBatchNorm",
    "RMSNorm",
    "ScaleNorm",
    "SeeDNorm",
    "SwitchableNorm",
    "centre_weights",
    "limit_spectrum",
    "normalize_weights",
    "standardize_weights",
    "torch_batch_norm",
]
