"""Learning curves of the runs in a folder, one line an arm with the range over seeds.

python scripts/plot_curves.py outputs/mlp_mnist --by norm --metric val/accuracy --out curves.svg
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")  # Okabe and Ito


def curves(folder: Path, by: str, metric: str) -> dict[str, list[list[float]]]:
    """The metric by epoch of every finished run, by arm.

    Raises:
        ValueError: no runs, or runs without the metric.
    """
    arms = defaultdict(list)
    for path in sorted(folder.rglob("result.json")):
        result = json.loads(path.read_text())
        if result["status"] != "finished":
            continue
        with open(path.with_name("metrics.csv")) as file:
            rows = list(csv.DictReader(file))
        if metric not in rows[0]:
            raise ValueError(f"--metric must be one of {', '.join(rows[0])}, got {metric}")
        if by not in result["choices"]:
            raise ValueError(f"--by must be one of {', '.join(result['choices'])}, got {by}")
        arms[str(result["choices"][by])].append([float(row[metric]) for row in rows])
    if not arms:
        raise ValueError(f"{folder} must hold finished runs, it has none")
    return dict(sorted(arms.items()))


def draw(arms: dict[str, list[list[float]]], metric: str, out: Path) -> None:
    """Mean over seeds as a line, smallest and largest as a band."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for colour, (arm, runs) in zip(COLOURS, arms.items(), strict=False):
        length = min(map(len, runs))
        values, epochs = np.array([run[:length] for run in runs]), np.arange(1, length + 1)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.plot(epochs, values.mean(0), color=colour, label=f"{arm} (n = {len(runs)})", linewidth=1.8)
    axes.set(xlabel="epoch", ylabel=metric)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(out, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of runs")
    parser.add_argument("--by", default="norm", help="what tells the arms apart (default norm)")
    parser.add_argument("--metric", default="val/accuracy")
    parser.add_argument("--out", type=Path, default=Path("curves.png"), help="png, svg or pdf")
    arguments = parser.parse_args()
    try:
        draw(curves(arguments.folder, arguments.by, arguments.metric), arguments.metric, arguments.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
