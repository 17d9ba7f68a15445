"""One training step of batch norm: PyTorch's, this project's and the notebooks'.

    python benchmarks/norms.py [--compile] [--seconds 4]

A step is one forward and one backward pass, on one thread. The variants take turns of
several steps, so that other load on the machine affects all alike. The first steps of a
turn are not counted, so that no variant finds caches and memory as another left them.
The median of all turns is shown and, for machines that are not idle, the fastest turn.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from measure import Row, show
from torch import Tensor, nn

from normlab.norms import BatchNorm1d, BatchNorm2d

WARM_UP = 5  # steps
FEWEST_TURNS = 11
TURN_MILLISECONDS = 20
REACH = {"normlab": 1.5, "normlab compiled": 1.0}
SHAPES = ((64, 64, 56, 56), (64, 192, 27, 27), (128, 16, 32, 32), (512, 1024))


class NotebookBatchNorm(nn.Module):
    """As in the course notebooks: textbook formulas and autograd.

    Unlike there, the running averages keep no graph.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        axes = (0, *range(2, x.ndim))
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = x.mean(axes)
        var = ((x - mean.view(shape)) ** 2).mean(axes)
        xhat = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(0.1 * mean)
            self.var.mul_(0.9).add_(0.1 * var)
        return self.gamma.view(shape) * xhat + self.beta.view(shape)


def variants(shape: tuple[int, ...], compiled: bool) -> dict[str, nn.Module]:
    theirs = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    ours = BatchNorm1d if len(shape) == 2 else BatchNorm2d
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
    """Mean milliseconds of several steps, after steps that fill the caches."""
    for _ in range(WARM_UP):
        run()
    started = time.perf_counter()
    for _ in range(steps):
        run()
    return 1e3 * (time.perf_counter() - started) / steps


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """The bytes that the forward pass saves for the backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda t: t
    ):
        layer(x)
    return sum(sizes)


def measure(
    shape: tuple[int, ...], compiled: bool, seconds: float
) -> dict[str, tuple[float, float, int | None]]:
    """Median and shortest milliseconds of a step and saved bytes, by variant.

    The turns last `seconds` in all.
    """
    # As in a run; otherwise this shape and the last would share a graph for any shape.
    torch.compiler.reset()
    x = torch.randn(shape, requires_grad=True)
    dy = torch.randn(shape)
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
    saved = {
        name: None if "compiled" in name else saved_bytes(layer, x)
        for name, layer in layers.items()
    }
    return {
        name: (statistics.median(times), min(times), saved[name])
        for name, times in found.items()
    }


def rows(seconds: float = 4, compiled: bool = True) -> list[Row]:
    """Two rows per shape, eager and compiled, both against torch's eager layer."""
    torch.set_num_threads(1)
    found = []
    for shape in SHAPES:
        measured = measure(shape, compiled, seconds)
        median, fastest, _ = measured["torch"]
        for variant, reach in REACH.items():
            if variant not in measured:
                continue
            size = " x ".join(map(str, shape))
            mode = variant.removeprefix("normlab")
            name = f"batch norm {size}, forward and backward{mode}"
            middle, least, _ = measured[variant]
            note = (
                f"fastest turns {least / fastest:.2f} x; {_others(variant, measured)}"
            )
            found.append(
                Row(name, "PyTorch's", middle, median, reach, unit="ms", note=note)
            )
    return found


def _others(variant: str, measured: dict[str, tuple[float, float, int | None]]) -> str:
    """The notebooks' layer, or torch's compiled one, against torch's eager layer."""
    median, _, saved = measured["torch"]
    if variant == "normlab":
        ratio = measured[variant][2] / saved
        notebook = measured["notebook"][0] / median
        return f"bytes kept {ratio:.2f} x; the notebooks' {notebook:.1f} x"
    return f"PyTorch's compiled {measured['torch compiled'][0] / median:.2f} x"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=4,
        help="seconds of measurement for every shape (default 4)",
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
