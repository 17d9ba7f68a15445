"""A norm trained on N(0, 1) gets inputs from N(2, 1.5): what batch norm does about it, and what it does not.

A course notebook showed the two histograms and said that batch norm takes the shift away. In evaluation it subtracts
the mean of the training data, so the shift passes through; statistics taken anew on the shifted data remove it (Li et
al., 2016, arXiv 1603.04779; Nado et al., 2020, arXiv 2006.10963), and layer norm, which takes its own, never had it.

python scripts/covariate_shift.py [--out covariate_shift.png]
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from normlab.norms import BatchNorm, LayerNorm

SHIFT, SPREAD = 2.0, 1.5
FEATURES, BATCH_SIZE, BATCHES = 64, 100, 200


def outputs(seed: int = 0) -> dict[str, tuple[Tensor, Tensor]]:
    """By what is done, the values that training and shifted samples ``(1000, 64)`` have afterwards."""
    generator = torch.Generator().manual_seed(seed)
    train = torch.randn(1000, FEATURES, generator=generator)
    shifted = SHIFT + SPREAD * torch.randn(1000, FEATURES, generator=generator)
    trained = batch_norm(
        torch.randn(BATCHES, BATCH_SIZE, FEATURES, generator=generator)
    )
    recalibrated = batch_norm(
        SHIFT + SPREAD * torch.randn(BATCHES, BATCH_SIZE, FEATURES, generator=generator)
    )
    layer = LayerNorm(FEATURES, 1)
    with torch.no_grad():
        return {
            "inputs": (train, shifted),
            "batch norm, training statistics": (trained(train), trained(shifted)),
            "batch norm, statistics taken anew": (
                trained(train),
                recalibrated(shifted),
            ),
            "layer norm": (layer(train), layer(shifted)),
        }


def batch_norm(batches: Tensor) -> BatchNorm:
    """In evaluation mode, its running statistics the mean over batches ``(K, N, C)``."""
    norm = BatchNorm(batches.shape[-1], 1, momentum=None)
    for batch in batches:
        norm(batch)
    return norm.eval()


def draw(found: dict[str, tuple[Tensor, Tensor]]) -> Figure:
    """A panel of two histograms for everything that is done."""
    figure = Figure(figsize=(3.2 * len(found), 2.6), layout="constrained")
    for axis, (name, parts) in zip(
        figure.subplots(1, len(found), sharex=True, sharey=True),
        found.items(),
        strict=True,
    ):
        for values, label, colour in zip(
            parts, ("trained on", "shifted"), ("#0072B2", "#E69F00"), strict=True
        ):
            axis.hist(
                values.flatten().numpy(),
                60,
                range=(-5, 8),
                density=True,
                alpha=0.6,
                color=colour,
                label=label,
            )
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("covariate_shift.png"), help="figure to write"
    )
    path = parser.parse_args().out
    found = outputs()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(found).savefig(path, dpi=130, facecolor="white")
    except (ValueError, OSError) as error:
        print(
            f"error: --out must name a figure that can be written, got {path}: {error}",
            file=sys.stderr,
        )
        sys.exit(2)
    print(f"{'':36}{'trained on':>20}{'shifted':>20}")
    for name, parts in found.items():
        print(
            f"{name:36}"
            + "".join(
                f"{f'{part.mean():.2f} (SD {part.std():.2f})':>20}" for part in parts
            )
        )
    print(f"figure: {path}")


if __name__ == "__main__":
    main()
