"""Norms for the tests of models."""

import torch
from torch import Tensor, nn

from normlab.norms import BatchNorm


def no_norm(num_features: int, dim: int) -> nn.Module:
    return nn.Identity()


def batch_norm(num_features: int, dim: int) -> nn.Module:
    return BatchNorm(num_features, dim)


def torch_norm(num_features: int, dim: int) -> nn.Module:
    return {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dim](num_features)


class Activating(nn.Module):
    """A norm that contains its activation: max(x, 0)."""

    includes_activation = True

    def __init__(self, num_features: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_min(0)


class Recorder:
    """A norm that records the arguments of every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, num_features: int, dim: int) -> nn.Module:
        self.calls.append((num_features, dim))
        return nn.Identity()


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
