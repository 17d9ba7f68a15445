"""Batch norm, one training step (forward and backward): PyTorch's, this project's, the notebooks', side by side.

    python benchmarks/norms.py [--threads 1] [--compile]

The variants take turns, so that whatever else the machine does hits all alike; medians of the repeats.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from normlab.norms import BatchNorm1d, BatchNorm2d

SHAPES = ((64, 64, 56, 56), (64, 192, 27, 27), (128, 16, 32, 32), (512, 1024))


class NotebookBatchNorm(nn.Module):
    """As in the course notebooks: textbook formulas, autograd, running averages that keep no graph here."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(num_features)), nn.Parameter(torch.zeros(num_features))
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
    theirs, ours = (nn.BatchNorm1d, BatchNorm1d) if len(shape) == 2 else (nn.BatchNorm2d, BatchNorm2d)
    layers = {"torch": theirs(shape[1]), "normlab": ours(shape[1]), "notebook": NotebookBatchNorm(shape[1])}
    if compiled:
        layers["normlab compiled"] = torch.compile(ours(shape[1]), fullgraph=True)
    return layers


def step(layer: nn.Module, x: Tensor, dy: Tensor) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        layer(x).backward(dy)

    return run


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """What the forward pass keeps for the backward pass."""
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda t: t):
        layer(x)
    return sum(sizes)


def measure(shape: tuple[int, ...], compiled: bool, repeats: int) -> dict[str, tuple[float, int | None]]:
    """Median milliseconds of a step and bytes kept, by variant."""
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    layers = variants(shape, compiled)
    runs = {name: step(layer, x, dy) for name, layer in layers.items()}
    seconds = {name: [] for name in runs}
    for repeat in range(repeats + 3):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if repeat >= 3:
                seconds[name].append(time.perf_counter() - started)
    kept = {name: None if "compiled" in name else saved_bytes(layer, x) for name, layer in layers.items()}
    return {name: (1e3 * statistics.median(seconds[name]), kept[name]) for name in runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--compile", action="store_true", help="also under torch.compile (needs a C++ compiler)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"threads {arguments.threads}, torch {torch.__version__}, float32, forward and backward, medians")
    for shape in SHAPES:
        found = measure(shape, arguments.compile, arguments.repeats)
        print(" x ".join(map(str, shape)))
        for name, (milliseconds, kept) in found.items():
            ratio = milliseconds / found["torch"][0]
            bytes_kept = "" if kept is None else f"  keeps {kept / found['torch'][1]:4.2f} x the bytes"
            print(f"  {name:<17} {milliseconds:8.2f} ms  {ratio:5.2f} x{bytes_kept}")


if __name__ == "__main__":
    main()
