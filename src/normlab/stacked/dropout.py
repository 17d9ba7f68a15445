"""Dropout in a stack, with the numbers that each run would draw alone.

Alone, `torch.nn.Dropout` draws its noise from the generator of the process. In a stack,
each run has a generator of its own, which continues where that of the run stands.

Shapes: K runs, N samples in a batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Generators = Sequence[torch.Generator]


def dropout_layers(network: nn.Module) -> list[nn.Dropout]:
    """The dropout layers of a network whose noise `own_noise` can draw."""
    layers = []
    for module in network.modules():
        # Other classes draw other noise; at 1, dropout draws none.
        if type(module) is nn.Dropout and 0 < module.p < 1:
            layers.append(module)
    return layers


@contextmanager
def own_noise(network: nn.Module, generators: Generators | None) -> Iterator[None]:
    """Within the block, dropout draws from the generators of the runs of a stack.

    Args:
        network: that is computed for all runs.
        generators: one per run, on the CPU; None leaves the layers as they are.
    """
    if generators is None:
        yield
        return
    layers = dropout_layers(network)
    for layer in layers:
        # An attribute of the layer comes before the method of its class.
        forward = partial(_forward, layer, generators)
        layer.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(
    layer: nn.Dropout,
    generators: Generators,
    inputs: Tensor,
) -> Tensor:
    if not layer.training:
        return inputs
    kept: Tensor = _Dropout.apply(inputs, layer.p, generators)
    return kept


class _Dropout(torch.autograd.Function):
    """Multiplies the inputs of every run by noise of its own.

    It is called in `torch.vmap` only, which passes the inputs of all runs to `vmap`.
    Inputs that are the same for all runs go to `forward`.
    """

    @staticmethod
    def forward(
        inputs: Tensor,
        probability: float,
        generators: Generators,
    ) -> Tensor:
        raise RuntimeError("random operation on inputs that all runs share")

    @staticmethod
    def setup_context(
        context: Any,
        inputs: tuple[Any, ...],
        output: Any,
    ) -> None:
        """Keep nothing: PyTorch differentiates what `vmap` computes."""

    @staticmethod
    def vmap(
        info: Any,
        dims: tuple[int | None, ...],
        inputs: Tensor,
        probability: float,
        generators: Generators,
    ) -> tuple[Tensor, int]:
        dim = dims[0]
        assert dim is not None  # other inputs belong to runs
        of_runs = inputs.movedim(dim, 0)
        noise = noise_like(of_runs, probability, generators)
        return of_runs * noise, 0


@torch.no_grad()
def noise_like(
    inputs: Tensor,
    probability: float,
    generators: Generators,
) -> Tensor:
    """What dropout multiplies inputs by: 0, or 1 / (1 - p).

    Args:
        inputs: of every run ``(K, N, ...)``.
        probability: p, with which a value becomes 0.
        generators: one per run.
    """
    noise = torch.empty_like(inputs)
    for own, generator in zip(noise, generators, strict=True):
        own.bernoulli_(1 - probability, generator=generator)
    return noise.div_(1 - probability)
