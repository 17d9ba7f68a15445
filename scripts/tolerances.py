"""Measure how far `norm=custom` is from PyTorch's batch norm.

Run as `python scripts/tolerances.py [--write]`. Two layers, one of each, get the same
inputs and output gradients for 100 steps and follow their own gradients. Every quantity
is compared at every step. `--write` puts the table into docs/results/tolerances.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from normlab.norms import BatchNorm

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "tolerances.md"
STEPS = 100
CHANNELS = 4
# |ours - PyTorch's| <= tolerance * (1 + |PyTorch's|), by the type of the input. The
# layers are in float32 if the input is in half precision.
TOLERANCES = {
    torch.float64: 1e-10,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 2e-2,
}
SHAPES = {
    2: (12, CHANNELS),
    3: (6, CHANNELS, 8),
    4: (4, CHANNELS, 5, 5),
    5: (3, CHANNELS, 2, 4, 4),
}
TORCHS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
LAYOUTS = ("contiguous", "channels last", "strided")
QUANTITIES = ("output", "input gradient", "weight gradient", "running statistics")

Case = tuple[torch.dtype, str, int]


def cases() -> Iterator[Case]:
    """Yield type, memory layout and number of axes of the inputs that are measured."""
    for dtype in TOLERANCES:
        for rank in SHAPES:
            for layout in LAYOUTS:
                if layout != "channels last" or rank in CHANNELS_LAST:
                    yield dtype, layout, rank


def measure(
    dtype: torch.dtype, layout: str, rank: int, steps: int = STEPS
) -> tuple[list[float], list[float]]:
    """Measure the deviation of every quantity from PyTorch's.

    Args:
        dtype: type of the input.
        layout: memory layout of the input, one of `LAYOUTS`.
        rank: number of axes of the input.
        steps: number of training steps.

    Returns:
        The deviations in the first step, and the largest of all steps.
    """
    generator = torch.Generator().manual_seed(0)
    layer_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    ours = BatchNorm(CHANNELS, max(1, rank - 2)).to(layer_dtype)
    theirs = TORCHS[rank](CHANNELS).to(layer_dtype)

    deviations = []  # one row per step
    for _ in range(steps):
        x = 3 * draw(generator, dtype, layout, rank) + 2
        dy = draw(generator, dtype, "contiguous", rank)
        pairs = zip(one_step(ours, x, dy), one_step(theirs, x, dy), strict=True)
        deviations.append([deviation(a, b) for a, b in pairs])
    largest = [max(column) for column in zip(*deviations, strict=True)]
    return deviations[0], largest


def draw(
    generator: torch.Generator, dtype: torch.dtype, layout: str, rank: int
) -> Tensor:
    """Draw standard normal values into a tensor with this memory layout."""
    shape = SHAPES[rank]
    if layout == "strided":
        shape = (2 * shape[0], *shape[1:-1], 2 * shape[-1])
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    if layout == "strided":
        return x[::2, ..., ::2]
    if layout == "channels last":
        return x.to(memory_format=CHANNELS_LAST[rank])
    return x


def one_step(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Train for one step, and return `QUANTITIES`.

    The layer then takes a small step along its gradient.
    """
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = torch.cat([layer.weight.grad, layer.bias.grad])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None
    statistics = torch.cat([layer.running_mean, layer.running_var])
    return [y.detach(), x.grad, gradients, statistics]


def deviation(a: Tensor, b: Tensor) -> float:
    """Return the largest ``|a - b| / (1 + |b|)``.

    Raises:
        ValueError: types or shapes differ, or a value is not finite.
    """
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        raise ValueError(
            f"{a.dtype} {tuple(a.shape)} must be as PyTorch's "
            f"{b.dtype} {tuple(b.shape)}"
        )
    a = a.double()
    b = b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("values must be finite")
    return ((a - b).abs() / (1 + b.abs())).max().item()


def tolerance_table() -> str:
    """Return the stated tolerances, as the document shows them."""
    lines = ["| type of the input | tolerance |", "|---|---|"]
    for dtype, tolerance in TOLERANCES.items():
        lines.append(f"| {name(dtype)} | {tolerance:.0e} |")
    return "\n".join(lines)


def measured_table() -> str:
    """Measure all cases, and return the results as the document shows them."""
    head = " | ".join(["input", "layout", "axes", *QUANTITIES])
    lines = [f"| {head} |", "|---" * (3 + len(QUANTITIES)) + "|"]
    for dtype, layout, rank in cases():
        cells = [name(dtype), layout, str(rank)]
        for first, largest in zip(*measure(dtype, layout, rank), strict=True):
            cells.append(f"{short(first)}, {short(largest)}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def name(dtype: torch.dtype) -> str:
    """Return "float32" for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def short(value: float) -> str:
    """Format a deviation with one digit."""
    return f"{value:.0e}" if value else "0"


def document() -> str:
    """Return the whole document, with the measurements of this machine."""
    return f"""{document_head()}## Measured

The largest `|ours - PyTorch's| / (1 + |PyTorch's|)` in the first step, and in all
{STEPS}; PyTorch {torch.__version__.partition("+")[0]}, CPU. The weight gradient is that
of scale and shift, the running statistics are mean and variance. "Strided" takes every
second sample and position of a larger tensor.

{measured_table()}
"""


def document_head() -> str:
    """Return the part of the document that does not depend on the machine."""
    return f"""# How close the custom batch norm is to PyTorch's

This page is written by `python scripts/tolerances.py --write`, and
`tests/norms/test_tolerances.py` measures all of it again.

Two layers, `normlab.norms.BatchNorm` and PyTorch's, get the same inputs and output
gradients for {STEPS} steps, and each follows its own gradients. At every step, and for
every value,

    |ours - PyTorch's| <= tolerance * (1 + |PyTorch's|)

{tolerance_table()}

The layers are in float32, and in float64 for inputs in float64. Inputs in half
precision come out in half precision; their tolerance is some units in the last place.
The difference is one of rounding, since both layers add and multiply in another order.
Whole networks in float32 drift apart from such differences after some steps, as they do
between two machines. From there on only distributions over seeds can be compared.

"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write docs/results/{DOCUMENT.name}",
    )
    if parser.parse_args().write:
        DOCUMENT.write_text(document())
    else:
        print(measured_table())


if __name__ == "__main__":
    main()
