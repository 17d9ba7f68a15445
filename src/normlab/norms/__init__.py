"""Normalization layers, one idea a file: every one is called as `norm(num_features, dim)`."""

from normlab.norms.batch import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from normlab.norms.batch_torch import torch_batch_norm

__all__ = ["BatchNorm", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "torch_batch_norm"]
