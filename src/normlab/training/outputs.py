"""Outputs in evaluation, and whether two of them agree."""

import torch
from torch import Tensor, nn

from normlab.streams import seed_generators


def evaluated(module: nn.Module, inputs: Tensor, seed: int = 0) -> Tensor:
    """The output in evaluation mode; the mode of the module is restored.

    Args:
        module: a network or a layer of it.
        inputs: ``(N, ...)``; a copy is passed on, since a layer may work in place.
        seed: of random numbers, if the module draws some in evaluation.
    """
    was_training = module.training
    devices = [inputs.device] if inputs.is_cuda else []
    module.eval()
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            seed_generators(seed)
            output: Tensor = module(inputs.clone())
            return output
    finally:
        module.train(was_training)


def agree(first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether two outputs are equal up to a share of the largest value of the first."""
    largest = float(first.detach().abs().max())
    absolute = tolerance * max(1e-30, largest)
    return torch.allclose(first, second, rtol=tolerance, atol=absolute, equal_nan=True)


def largest_difference(first: Tensor, second: Tensor) -> float:
    """The largest difference between the values of two outputs."""
    return float((first - second).abs().max())
