"""The tables of the document: arms, differences of folds, and losses by epoch."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from reproduction.notebook import Entry, points, quotes

from normlab.compare.comparison import Comparison
from normlab.compare.curves import read_curves
from normlab.compare.inference import SMALLEST_N
from normlab.compare.summaries import finished_runs
from normlab.report.table_formats import markdown_rows

Contrast = dict[Any, Any]  # a row of `Comparison.contrasts`
Summary = dict[Any, Any]  # a row of `Comparison.summaries`

NO_NUMBER = "–"
INTERVAL = "95 % interval"
OUTSIDE = "*"  # marks what the notebook printed if none of our runs reaches it


def rows_to_markdown(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True
) -> str:
    """A Markdown table; with `numbers` all columns but the first are right-aligned."""
    is_right_aligned = [numbers] * len(columns)
    is_right_aligned[0] = False
    return markdown_rows(columns, rows, is_right_aligned)


def arms_table(comparison: Comparison, entry: Entry) -> str:
    """One row per arm: what the notebook printed, our scores, and the network."""
    by_arm = comparison.summaries.set_index("arm", drop=False)
    summaries = by_arm.loc[comparison.arms]
    rows = []
    for summary in summaries.to_dict("records"):
        rows.append(_arm_cells(comparison, entry, summary))
    cells = pd.DataFrame(rows)

    hidden = ["folds", "seeds"]
    size = "n seeds"
    if by_folds(comparison):
        hidden = ["n"]
        size = "folds, means over the seeds of a fold"
    if (cells["notebook"] == NO_NUMBER).all():
        hidden.append("notebook")
    if (cells["diverged or failed"] == "0").all():
        hidden.append("diverged or failed")
    shown = cells.drop(columns=hidden)
    table = rows_to_markdown(list(shown), shown.to_numpy().tolist())
    return f"**{comparison.metric}** of {size}\n\n{table}"


def _arm_cells(
    comparison: Comparison, entry: Entry, summary: Summary
) -> dict[str, str]:
    """The cells of an arm by the header of their column, in order."""
    arm = summary["arm"]
    metric = comparison.metric
    runs = comparison.runs[comparison.runs["arm"] == arm]
    printed = [f"{value:.4f}" for _, value in quotes(entry, arm, metric)]
    seeds = ""
    if by_folds(comparison):
        seeds = _seeds_per_fold(runs, metric)

    size = str(summary["n"])
    lost = summary["diverged"] + summary["failed"]
    show = rounded_to(summary["sd"])
    low = show(summary["low"])
    high = show(summary["high"])
    layers = _distinct(runs["num_norm_layers"])
    parameters = _distinct(runs["num_parameters"])
    layers_cell, parameters_cell = count_cells(layers, parameters)
    return {
        "arm": arm,
        "notebook": ", ".join(printed) or NO_NUMBER,
        "folds": size,
        "seeds": seeds,
        "n": size,
        "mean": show(summary["mean"]),
        "SD": show(summary["sd"]),
        INTERVAL: f"{low} to {high}",
        "smallest": show(summary["min"]),
        "largest": show(summary["max"]),
        "norm layers": layers_cell,
        "parameters": parameters_cell,
        "diverged or failed": str(lost),
    }


def _distinct(counts: pd.Series) -> list[int]:
    present = counts.dropna()
    return sorted(set(present.astype(int)))


def by_folds(comparison: Comparison) -> bool:
    """Whether arms are compared over the folds of a cross-validation."""
    contrasts = comparison.contrasts
    if "design" not in contrasts:
        return False
    return "folds" in set(contrasts["design"])


def _seeds_per_fold(runs: pd.DataFrame, metric: str) -> str:
    """How many runs the mean of a fold is over: `10`, or `8 to 10`."""
    finished = finished_runs(runs, metric)
    counts = finished.groupby("dataset.fold").size()
    if counts.empty:
        return "0"
    fewest = counts.min()
    most = counts.max()
    if fewest == most:
        return str(most)
    return f"{fewest} to {most}"


def count_cells(layers: Sequence[int], parameters: Sequence[int]) -> list[str]:
    """Cells with numbers of layers and of parameters; several are joined by `or`."""
    cells = []
    for counts in (layers, parameters):
        cells.append(" or ".join(f"{count:,}" for count in counts))
    return cells


def differences(comparison: Comparison) -> str:
    """One sentence per contrast, or a table if folds are too few for a test."""
    contrasts = comparison.contrasts.to_dict("records")
    if any(map(_has_test, contrasts)):
        return "\n".join(f"- {row['sentence']}" for row in contrasts)
    rows = []
    for row in contrasts:
        difference, low, high = shown_difference(comparison, row)
        size = str(row["n"])
        rows.append([row["arm"], size, difference, f"{low} to {high}"])
    table = rows_to_markdown(["arm", "folds", "difference", INTERVAL], rows)
    return (
        f"Difference to {comparison.baseline} in {comparison.metric}; no test is made "
        f"with fewer than {SMALLEST_N} folds\n\n{table}"
    )


def _has_test(contrast: Contrast) -> bool:
    """Whether a contrast is tested, and so has a verdict: few folds have none."""
    if contrast["design"] != "folds":
        return True
    return contrast["n"] >= SMALLEST_N


def shown_difference(
    comparison: Comparison, contrast: Contrast
) -> tuple[str, str, str]:
    """A difference and the ends of its interval as text.

    Accuracies are in points (hundredths), errors in their own unit.
    """
    difference = contrast["difference"]
    low = contrast["low"]
    high = contrast["high"]
    show = points
    if not comparison.metric.endswith("accuracy"):
        # A quarter of the interval is about a standard error.
        show = _signed(rounded_to((high - low) / 4))
    return show(difference), show(low), show(high)


def _signed(show: Callable[[float], str]) -> Callable[[float], str]:
    def show_signed(value: float) -> str:
        size = show(abs(value))
        if value < 0:
            return f"−{size}"
        return f"+{size}"

    return show_signed


def rounded_to(sd: float) -> Callable[[float], str]:
    """A function that shows numbers with the digits that their spread allows.

    Args:
        sd: The standard deviation of the numbers; they get the decimals of its first
            two digits.
    """
    decimals = 4
    if sd > 0:
        magnitude = math.floor(math.log10(sd))
        decimals = max(0, 1 - magnitude)
    form = f"{{:,.{decimals}f}}"
    return lambda value: _or_dash(value, form)


def _or_dash(value: float, form: str) -> str:
    if not math.isfinite(value):
        return NO_NUMBER
    return form.format(value)


def epochs_to_reach(comparison: Comparison, entry: Entry) -> str:
    """Epochs until every arm has the loss that the baseline ends with, seed by seed."""
    metric = entry.get("reach")
    if metric is None:
        return ""
    tables = curves_by_seed(comparison, metric)
    baseline = tables[comparison.baseline]
    if baseline.empty:
        return ""

    last = baseline.iloc[:, -1]
    texts = []
    for arm in comparison.arms[1:]:
        epochs = first_epochs(tables[arm], last)
        text = f"{arm} {_epochs_text(epochs)}"
        printed = _printed_epoch(entry, arm, comparison.baseline, metric)
        if printed is not None:
            text += f", the notebook's {printed:g}"
        texts.append(text)
    return (
        f"**Epochs** until an arm has the {metric} that {comparison.baseline} with the "
        f"same seed has after {baseline.columns[-1]}, median and range over seeds: "
        f"{'; '.join(texts)}."
    )


def _printed_epoch(entry: Entry, arm: str, baseline: str, metric: str) -> float | None:
    """The notebook's epoch, if it printed one curve of each arm."""
    of_arm = quotes(entry, arm, metric)
    of_baseline = quotes(entry, baseline, metric)
    if len(of_arm) != 1 or len(of_baseline) != 1:
        return None
    _, losses = of_arm[0]
    _, baseline_losses = of_baseline[0]
    epochs = range(1, len(losses) + 1)
    table = pd.DataFrame([losses], columns=epochs)
    last = pd.Series([baseline_losses[-1]])
    (epoch,) = first_epochs(table, last)
    return float(epoch)


def _epochs_text(epochs: np.ndarray) -> str:
    if not len(epochs):
        return NO_NUMBER
    median = np.median(epochs)
    fewest = epochs.min()
    most = epochs.max()
    text = f"{median:g} ({fewest:g} to {most:g})"
    return text.replace("inf", "never")


def first_epochs(losses: pd.DataFrame, targets: pd.Series) -> np.ndarray:
    """The first epoch whose loss is at most the target, seed by seed.

    Args:
        losses: One row per seed and one column per epoch.
        targets: The loss to reach, by seed.

    Returns:
        One epoch per seed that both have; infinite if the target is not reached.
    """
    seeds = losses.index.intersection(targets.index)
    is_reached = losses.loc[seeds].le(targets[seeds], axis=0)
    first = is_reached.idxmax(axis=1).astype(float)
    return np.where(is_reached.any(axis=1), first, math.inf)


def curves_by_seed(comparison: Comparison, metric: str) -> dict[str, pd.DataFrame]:
    """The metric of all finished runs by epoch.

    Returns:
        A table per arm, one row per seed and one column per epoch; an empty one for
        arms without curves.
    """
    is_finished = comparison.runs["status"] == "finished"
    runs = comparison.runs[is_finished]
    curves = read_curves(runs, [metric])
    epochs = curves["epoch"].astype(int)
    curves = curves.assign(epoch=epochs)
    curves = curves.join(runs[["arm", "seed"]], on="index")
    tables = dict.fromkeys(comparison.arms, pd.DataFrame())
    for arm, part in curves.groupby("arm"):
        tables[arm] = part.pivot_table(metric, "seed", "epoch", "last")
    return tables


def curve_table(comparison: Comparison, entry: Entry, metric: str) -> str:
    """One row per epoch: mean and SD of every arm, and what the notebook printed."""
    tables = curves_by_seed(comparison, metric)
    num_epochs = max(table.shape[1] for table in tables.values())
    epochs = range(1, num_epochs + 1)
    columns = [["epoch", *map(str, epochs)]]
    for arm, table in tables.items():
        columns.append(_curve_column(arm, table, epochs))
        for heading, losses in quotes(entry, arm, metric):
            columns.append(_printed_column(heading, losses, table, epochs))

    headings, *rows = zip(*columns, strict=True)
    note = ""
    if OUTSIDE in "".join(map("".join, rows)):
        note = f"; {OUTSIDE} lies outside of all runs here"
    text = rows_to_markdown(headings, rows)
    return f"**{metric}** by epoch, mean (SD) over seeds{note}\n\n{text}"


def _curve_column(arm: str, table: pd.DataFrame, epochs: range) -> list[str]:
    """The heading and the cells of an arm: mean and SD over its seeds."""
    column = [arm]
    for epoch in epochs:
        values = _losses_at(table, epoch)
        mean = _or_dash(values.mean(), "{:.3f}")
        sd = _or_dash(values.std(), " ({:.3f})")
        column.append(mean + sd)
    return column


def _printed_column(
    heading: str, losses: list[float], table: pd.DataFrame, epochs: range
) -> list[str]:
    """The heading and the cells of a curve that the notebook printed."""
    column = [heading]
    for epoch in epochs:
        ours = _losses_at(table, epoch)
        column.append(_printed_loss(losses, epoch, ours))
    return column


def _losses_at(table: pd.DataFrame, epoch: int) -> pd.Series:
    """The losses of all seeds that reached an epoch."""
    values = table.get(epoch, pd.Series(dtype=float))
    return values.dropna()


def _printed_loss(losses: list[float], epoch: int, ours: pd.Series) -> str:
    """The notebook's loss, with a star if it lies outside of all our runs."""
    if epoch > len(losses):
        return NO_NUMBER
    value = losses[epoch - 1]
    text = f"{value:.3f}"
    if len(ours) == 0 or ours.min() <= value <= ours.max():
        return text
    return text + OUTSIDE
