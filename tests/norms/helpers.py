"""What the tests of several norms share."""

import os
import subprocess
import sys
import warnings

import torch
from torch import Tensor, nn


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values with mean 1 and standard deviation 2."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 2 + 1).to(dtype)


def randomized(layer: nn.Module, seed: int = 100) -> nn.Module:
    """The layer in float64, every parameter and every running statistic random.

    A test with scale 1 and shift 0 would not notice if they were swapped.
    """
    layer = layer.double()
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if name == "num_batches_tracked":
                continue
            values = draw(*tensor.shape, seed=seed)
            tensor.copy_(values.abs() + 0.5 if name == "running_var" else values)
            seed += 1
    return layer


def channels(values: Tensor, x: Tensor) -> Tensor:
    """Values ``(C,)`` written out for every element of x."""
    return values.view(1, -1, *[1] * (x.ndim - 2)).expand(x.shape)


def over_channels(function, x: Tensor) -> Tensor:
    """A statistic of every channel, by a loop, written out for every element of x."""
    values = [function(x[:, c].flatten()) for c in range(x.shape[1])]
    return channels(torch.stack(values), x)


def step(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Output and gradients of a training step, which moves the parameters a little."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = [parameter.grad.clone() for parameter in layer.parameters()]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None
    return [y.detach(), x.grad, *gradients]


def assert_alike(ours, theirs, tolerance: float) -> None:
    """Tensors have the same types, and the same values up to a tolerance."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_same(ours, theirs, x: Tensor, tolerance: float = 1e-5) -> None:
    """Two layers compute the same."""
    torch.testing.assert_close(ours(x), theirs(x), rtol=tolerance, atol=tolerance)


def run_python(program: str, *arguments: object, **environment: str) -> str:
    """What a program prints, in a process of its own with this environment."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


def from_x_transformers(name: str, *arguments) -> nn.Module:
    """A layer of the package x-transformers, in float64."""
    with warnings.catch_warnings():
        # It scripts a function when it is imported, which PyTorch deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)
        from x_transformers import x_transformers
    return getattr(x_transformers, name)(*arguments).double()
