"""Batch norm, one training step (forward and backward): PyTorch's, this project's, the notebooks', side by side.

    python benchmarks/norms.py [--compile] [--seconds 10]

The variants take turns of several steps, so that whatever else the machine does hits all alike. The first steps of a
turn are not counted, so that none finds caches and memory as another left them; as in a run, freed memory is kept, for
all of them. The median of all turns is shown and, for machines that are not idle, the fastest turn. One thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from measure import Row, show
from torch import Tensor, nn

from normlab.norms import BatchNorm1d, BatchNorm2d

WARM_UP, FEWEST_TURNS, TURN_MILLISECONDS = 5, 11, 20
REACH = {"normlab": 1.5, "normlab compiled": 1.0}
SHAPES = ((64, 64, 56, 56), (64, 192, 27, 27), (128, 16, 32, 32), (512, 1024))


class NotebookBatchNorm(nn.Module):
    """As in the course notebooks: textbook formulas, autograd, running averages that keep no graph here."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.gamma, self.beta = (
            nn.Parameter(torch.ones(num_features)),
            nn.Parameter(torch.zeros(num_features)),
        )
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        mean = x.mean(axes)
        var = ((x - mean.view(shape)) ** 2).mean(axes)
        xhat = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(0.1 * mean)
            self.var.mul_(0.9).add_(0.1 * var)
        return self.gamma.view(shape) * xhat + self.beta.view(shape)


def variants(shape: tuple[int, ...], compiled: bool) -> dict[str, nn.Module]:
    theirs, ours = (
        (nn.BatchNorm1d, BatchNorm1d)
        if len(shape) == 2
        else (nn.BatchNorm2d, BatchNorm2d)
    )
    layers = {
        "torch": theirs(shape[1]),
        "normlab": ours(shape[1]),
        "notebook": NotebookBatchNorm(shape[1]),
    }
    if compiled:
        layers |= {
            "normlab compiled": ours(shape[1]),
            "torch compiled": theirs(shape[1]),
        }
        for name in ("normlab compiled", "torch compiled"):
            layers[name].compile(fullgraph=True)
    return layers


def step(layer: nn.Module, x: Tensor, dy: Tensor) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        layer(x).backward(dy)

    return run


def turn(run: Callable[[], None], steps: int) -> float:
    """Milliseconds of a step, the mean of several in a row, after some that bring the caches back to this variant."""
    for _ in range(WARM_UP):
        run()
    started = time.perf_counter()
    for _ in range(steps):
        run()
    return 1e3 * (time.perf_counter() - started) / steps


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """What the forward pass keeps for the backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda t: t
    ):
        layer(x)
    return sum(sizes)


def measure(
    shape: tuple[int, ...], compiled: bool, seconds: float
) -> dict[str, tuple[float, float, int | None]]:
    """Median and shortest milliseconds of a step and bytes kept, by variant, from turns that last `seconds`."""
    torch.compiler.reset()  # as a run does, or this shape and the one before would share a graph for any shape
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    layers = variants(shape, compiled)
    runs = {name: step(layer, x, dy) for name, layer in layers.items()}
    for run in runs.values():
        turn(run, 1)
    steps = max(WARM_UP, round(TURN_MILLISECONDS / turn(runs["torch"], WARM_UP)))
    found = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found["torch"]) < FEWEST_TURNS:
        for name, run in runs.items():
            found[name].append(turn(run, steps))
    kept = {
        name: None if "compiled" in name else saved_bytes(layer, x)
        for name, layer in layers.items()
    }
    return {
        name: (statistics.median(times), min(times), kept[name])
        for name, times in found.items()
    }


def rows(seconds: float = 10, compiled: bool = True) -> list[Row]:
    """Two rows a shape, eager and compiled, both against torch's layer as it is."""
    torch.set_num_threads(1)
    found = []
    for shape in SHAPES:
        measured = measure(shape, compiled, seconds)
        median, fastest, _ = measured["torch"]
        for variant, reach in REACH.items():
            if variant not in measured:
                continue
            name = f"batch norm {' x '.join(map(str, shape))}, forward and backward{variant.removeprefix('normlab')}"
            middle, least, _ = measured[variant]
            note = (
                f"fastest turns {least / fastest:.2f} x; {_others(variant, measured)}"
            )
            found.append(
                Row(name, "PyTorch's", middle, median, reach, unit="ms", note=note)
            )
    return found


def _others(variant: str, measured: dict[str, tuple[float, float, int | None]]) -> str:
    """What else took turns, against torch's layer: the notebooks', or torch's when it is compiled."""
    median, _, kept = measured["torch"]
    if variant == "normlab":
        return f"bytes kept {measured[variant][2] / kept:.2f} x; the notebooks' {measured['notebook'][0] / median:.1f} x"
    return f"PyTorch's compiled {measured['torch compiled'][0] / median:.2f} x"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="of measurement for every shape"
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="also under torch.compile (needs a C++ compiler)",
    )
    arguments = parser.parse_args()
    print(f"1 thread, torch {torch.__version__}, float32")
    show(rows(arguments.seconds, arguments.compile))


if __name__ == "__main__":
    main()
