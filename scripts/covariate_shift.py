"""Show what batch norm does about a shift of its inputs, and what it does not.

A norm is trained on inputs from N(0, 1) and then gets inputs from N(2, 1.5). A course
notebook showed the two histograms and concluded that batch norm removes the shift. In
evaluation it subtracts the mean of the training data, so the shift passes through.
Statistics recomputed on the shifted data remove it (Li et al., 2016, arXiv 1603.04779;
Nado et al., 2020, arXiv 2006.10963). Layer norm uses statistics of each sample and
never lets it through.

    python scripts/covariate_shift.py [--out covariate_shift.png]
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from normlab.colours import BLUE, ORANGE
from normlab.norms import BatchNorm, LayerNorm

SHIFT = 2.0
SPREAD = 1.5

SAMPLES = 1000
FEATURES = 64
BATCH_SIZE = 100
BATCHES = 200

# Label and colour of the two histograms in a panel.
HISTOGRAMS = (("trained on", BLUE), ("shifted", ORANGE))


def outputs(seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """Outputs of the norms for samples like those of training, and for shifted ones.

    Args:
        seed: seed of the random samples.

    Returns:
        By the name of the norm, two tensors ``(1000, 64)``; the inputs come first.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    train = draw(SAMPLES, FEATURES)
    shifted = SHIFT + SPREAD * draw(SAMPLES, FEATURES)
    trained = batch_norm(draw(BATCHES, BATCH_SIZE, FEATURES))
    recalibrated = batch_norm(SHIFT + SPREAD * draw(BATCHES, BATCH_SIZE, FEATURES))
    layer = LayerNorm(FEATURES, 1)
    with torch.no_grad():
        return {
            "inputs": (train, shifted),
            "batch norm, training statistics": (trained(train), trained(shifted)),
            "batch norm, recomputed statistics": (
                trained(train),
                recalibrated(shifted),
            ),
            "layer norm": (layer(train), layer(shifted)),
        }


def batch_norm(batches: Tensor) -> BatchNorm:
    """A batch norm in evaluation mode that has seen some batches.

    Args:
        batches: K batches of N samples ``(K, N, C)``; the running statistics become the
            mean over them.
    """
    norm = BatchNorm(batches.shape[-1], 1, momentum=None)
    for batch in batches:
        norm(batch)
    return norm.eval()


def draw_histograms(results: dict[str, tuple[Tensor, Tensor]]) -> Figure:
    """Draw one panel with two histograms for every entry of `outputs`."""
    figure = Figure(figsize=(3.2 * len(results), 2.6), layout="constrained")
    axes = figure.subplots(1, len(results), sharex=True, sharey=True)
    for axis, (name, parts) in zip(axes, results.items(), strict=True):
        _draw_panel(axis, parts)
        axis.set_title(name, fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def _draw_panel(axis: Axes, parts: tuple[Tensor, Tensor]) -> None:
    for values, (label, color) in zip(parts, HISTOGRAMS, strict=True):
        axis.hist(
            values.flatten().numpy(),
            bins=60,
            range=(-5, 8),
            density=True,
            alpha=0.6,
            color=color,
            label=label,
        )
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def print_moments(results: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Print mean and standard deviation of every entry of `outputs`."""
    print(f"{'':36}{'trained on':>20}{'shifted':>20}")
    for name, parts in results.items():
        cells = [f"{part.mean():.2f} (SD {part.std():.2f})" for part in parts]
        print(f"{name:36}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Write the figure and print the moments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("covariate_shift.png"),
        metavar="FILE",
        help="figure to write (default: %(default)s)",
    )
    path = parser.parse_args().out
    results = outputs()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_histograms(results).savefig(path, dpi=130, facecolor="white")
    except (ValueError, OSError) as error:
        print(
            f"error: --out must name a figure that can be written, got {path}: {error}",
            file=sys.stderr,
        )
        sys.exit(2)
    print_moments(results)
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
