"""How far `norm=custom` is from PyTorch's batch norm: `python scripts/tolerances.py [--write]`.

Two layers, one of each, get the same inputs and output gradients for 100 steps and walk along their own gradients.
Every quantity is compared at every step. `--write` puts the table into docs/results/tolerances.md.
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
# |ours - torch's| <= tolerance * (1 + |torch's|), by the type of the input; half types with layers in float32.
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
    """Type, memory layout and number of axes of the inputs that are measured."""
    for dtype in TOLERANCES:
        for rank in SHAPES:
            for layout in LAYOUTS:
                if layout != "channels last" or rank in CHANNELS_LAST:
                    yield dtype, layout, rank


def measure(
    dtype: torch.dtype, layout: str, rank: int, steps: int = STEPS
) -> tuple[list[float], list[float]]:
    """Deviation of every quantity in the first step, and the largest of all steps."""
    generator = torch.Generator().manual_seed(0)
    layer_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    ours = BatchNorm(CHANNELS, max(1, rank - 2)).to(layer_dtype)
    theirs = TORCHS[rank](CHANNELS).to(layer_dtype)
    rows = []
    for _ in range(steps):
        x, dy = (
            draw(generator, dtype, layout, rank),
            draw(generator, dtype, "contiguous", rank),
        )
        pairs = zip(
            one_step(ours, 3 * x + 2, dy), one_step(theirs, 3 * x + 2, dy), strict=True
        )
        rows.append([deviation(a, b) for a, b in pairs])
    return rows[0], [max(column) for column in zip(*rows, strict=True)]


def draw(
    generator: torch.Generator, dtype: torch.dtype, layout: str, rank: int
) -> Tensor:
    """Standard normal values in a tensor with this memory layout."""
    shape = SHAPES[rank]
    if layout == "strided":
        wide = torch.randn(
            2 * shape[0],
            *shape[1:-1],
            2 * shape[-1],
            generator=generator,
            dtype=torch.float64,
        )
        return wide.to(dtype)[::2, ..., ::2]
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return x.to(memory_format=CHANNELS_LAST[rank]) if layout == "channels last" else x


def one_step(layer: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    """The quantities of one training step; the layer then takes a small step along its gradient."""
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = torch.cat([layer.weight.grad, layer.bias.grad])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter -= 0.01 * parameter.grad
            parameter.grad = None
    return [
        y.detach(),
        x.grad,
        gradients,
        torch.cat([layer.running_mean, layer.running_var]),
    ]


def deviation(a: Tensor, b: Tensor) -> float:
    """Largest ``|a - b| / (1 + |b|)``.

    Raises:
        ValueError: types or shapes differ, or a value is no number.
    """
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        raise ValueError(
            f"{a.dtype} {tuple(a.shape)} must be as PyTorch's {b.dtype} {tuple(b.shape)}"
        )
    a, b = a.double(), b.double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("values must be finite")
    return ((a - b).abs() / (1 + b.abs())).max().item()


def tolerance_table() -> str:
    """The stated tolerances, as the document shows them."""
    rows = [
        f"| {name(dtype)} | {tolerance:.0e} |"
        for dtype, tolerance in TOLERANCES.items()
    ]
    return "\n".join(["| type of the input | tolerance |", "|---|---|", *rows])


def measured_table() -> str:
    """What this machine measures, as the document shows it."""
    head = " | ".join(["input", "layout", "axes", *QUANTITIES])
    rows = [f"| {head} |", "|---" * (3 + len(QUANTITIES)) + "|"]
    for dtype, layout, rank in cases():
        first, largest = measure(dtype, layout, rank)
        cells = [f"{short(a)}, {short(b)}" for a, b in zip(first, largest, strict=True)]
        rows.append(f"| {' | '.join([name(dtype), layout, str(rank), *cells])} |")
    return "\n".join(rows)


def name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def short(value: float) -> str:
    return f"{value:.0e}" if value else "0"


def document() -> str:
    return f"""{document_head()}## Measured

Largest `|ours - PyTorch's| / (1 + |PyTorch's|)` in the first step, and in all {STEPS}; PyTorch
{torch.__version__.partition("+")[0]}, CPU. Weight gradient means scale and shift, running statistics mean and variance.
"Strided" takes every second sample and position of a larger tensor.

{measured_table()}
"""


def document_head() -> str:
    """What does not depend on the machine."""
    return f"""# How close `norm=custom` is to PyTorch's batch norm

Written by `python scripts/tolerances.py --write`; `tests/norms/test_tolerances.py` measures all of it again.

Two layers, `normlab.norms.BatchNorm` and PyTorch's, get the same inputs and output gradients for {STEPS} steps and walk
along their own gradients. At every step, and for every value,

    |ours - PyTorch's| <= tolerance * (1 + |PyTorch's|)

{tolerance_table()}

The layers are in float32, for float64 inputs in float64; halves come out as halves, and their tolerance is some units
in the last place. The difference is rounding: both add and multiply in another order. Whole networks in float32 drift
apart from such differences after some steps, as they do between two machines; from there on only distributions over
seeds can be compared.

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
