"""The tables of the document: arms, differences of folds, and losses by epoch."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from reproduction.notebook import points, quotes

from normlab.compare.comparison import Comparison
from normlab.compare.curves import read_curves
from normlab.compare.inference import SMALLEST_N
from normlab.compare.summaries import finished_runs
from normlab.report.table_formats import markdown_rows

NO_NUMBER = "–"
INTERVAL = "95 % interval"


def rows_to_markdown(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True
) -> str:
    """A Markdown table; with `numbers` all columns but the first are right-aligned."""
    return markdown_rows(columns, rows, [False] + [numbers] * (len(columns) - 1))


def arms_table(comparison: Comparison, entry: dict[str, Any]) -> str:
    """One row per arm: what the notebook printed, our scores, and the network."""
    summaries = comparison.summaries.set_index("arm", drop=False).loc[comparison.arms]
    rows = []
    for summary in summaries.to_dict("records"):
        rows.append(_arm_cells(comparison, entry, summary))

    quoted = any(quotes(entry, arm, comparison.metric) for arm in comparison.arms)
    lost = (comparison.summaries[["diverged", "failed"]] > 0).any(axis=None)
    folds = by_folds(comparison)
    hidden = set()
    if not quoted:
        hidden.add("notebook")
    if not lost:
        hidden.add("diverged or failed")
    hidden |= {"n"} if folds else {"folds", "seeds"}

    columns = [name for name in rows[0] if name not in hidden]
    cells = [[row[name] for name in columns] for row in rows]
    size = "folds, means over the seeds of a fold" if folds else "n seeds"
    table = rows_to_markdown(columns, cells)
    return f"**{comparison.metric}** of {size}\n\n{table}"


def _arm_cells(
    comparison: Comparison, entry: dict[str, Any], summary: dict[Any, Any]
) -> dict[str, str]:
    """The cells of an arm by the header of their column, in order."""
    arm = summary["arm"]
    runs = comparison.runs[comparison.runs["arm"] == arm]
    printed = [f"{value:.4f}" for _, value in quotes(entry, arm, comparison.metric)]
    seeds = ""
    if by_folds(comparison):
        seeds = _seeds_per_fold(runs, comparison.metric)
    show = rounded_to(summary["sd"])
    layers, parameters = count_cells(
        _distinct(runs["num_norm_layers"]), _distinct(runs["num_parameters"])
    )
    return {
        "arm": arm,
        "notebook": ", ".join(printed) or NO_NUMBER,
        "folds": str(summary["n"]),
        "seeds": seeds,
        "n": str(summary["n"]),
        "mean": show(summary["mean"]),
        "SD": show(summary["sd"]),
        INTERVAL: f"{show(summary['low'])} to {show(summary['high'])}",
        "smallest": show(summary["min"]),
        "largest": show(summary["max"]),
        "norm layers": layers,
        "parameters": parameters,
        "diverged or failed": str(summary["diverged"] + summary["failed"]),
    }


def _distinct(counts: pd.Series) -> list[int]:
    return sorted({int(count) for count in counts.dropna()})


def by_folds(comparison: Comparison) -> bool:
    """Whether arms are compared over the folds of a cross-validation."""
    if "design" not in comparison.contrasts:
        return False
    return "folds" in set(comparison.contrasts["design"])


def _seeds_per_fold(runs: pd.DataFrame, metric: str) -> str:
    """How many runs the mean of a fold is over: `10`, or `8 to 10`."""
    counts = finished_runs(runs, metric).groupby("dataset.fold").size()
    if counts.empty:
        return "0"
    ends = sorted({counts.min(), counts.max()})
    return " to ".join(map(str, ends))


def count_cells(layers: Sequence[int], parameters: Sequence[int]) -> list[str]:
    """Cells with numbers of layers and of parameters; several are joined by `or`."""
    cells = []
    for counts in (layers, parameters):
        cells.append(" or ".join(f"{count:,}" for count in counts))
    return cells


def differences(comparison: Comparison) -> str:
    """One sentence per contrast, or a table if folds are too few for a test."""
    contrasts = comparison.contrasts.to_dict("records")
    if any(row["design"] != "folds" or row["n"] >= SMALLEST_N for row in contrasts):
        return "\n".join(f"- {row['sentence']}" for row in contrasts)
    rows = []
    for row in contrasts:
        difference, low, high = shown_difference(comparison, row)
        rows.append([row["arm"], str(row["n"]), difference, f"{low} to {high}"])
    table = rows_to_markdown(["arm", "folds", "difference", INTERVAL], rows)
    return (
        f"Difference to {comparison.baseline} in {comparison.metric}; no test is made "
        f"with fewer than {SMALLEST_N} folds\n\n{table}"
    )


def shown_difference(
    comparison: Comparison, contrast: dict[Any, Any]
) -> tuple[str, str, str]:
    """A difference and the ends of its interval as text.

    Accuracies are in points (hundredths), errors in their own unit.
    """
    show = points
    if not comparison.metric.endswith("accuracy"):
        # A quarter of the interval is about a standard error.
        show = _signed(rounded_to((contrast["high"] - contrast["low"]) / 4))
    return show(contrast["difference"]), show(contrast["low"]), show(contrast["high"])


def _signed(show: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: ("−" if value < 0 else "+") + show(abs(value))


def rounded_to(sd: float) -> Callable[[float], str]:
    """A function that shows numbers with the digits that their spread allows.

    Args:
        sd: The standard deviation of the numbers; they get the decimals of its first
            two digits.
    """
    decimals = 4
    if sd > 0:
        decimals = max(0, 1 - math.floor(math.log10(sd)))
    return lambda value: _or_dash(value, f"{{:,.{decimals}f}}")


def _or_dash(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else NO_NUMBER


def epochs_to_reach(comparison: Comparison, entry: dict[str, Any]) -> str:
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
        text = f"{arm} {_epochs_text(first_epochs(tables[arm], last))}"
        printed = _printed_epoch(entry, arm, comparison.baseline, metric)
        if printed is not None:
            text += f", the notebook's {printed:g}"
        texts.append(text)
    return (
        f"**Epochs** until an arm has the {metric} that {comparison.baseline} with the "
        f"same seed has after {baseline.columns[-1]}, median and range over seeds: "
        f"{'; '.join(texts)}."
    )


def _printed_epoch(
    entry: dict[str, Any], arm: str, baseline: str, metric: str
) -> float | None:
    """The notebook's epoch, if it printed one curve of each arm."""
    of_arm = quotes(entry, arm, metric)
    of_baseline = quotes(entry, baseline, metric)
    if len(of_arm) != 1 or len(of_baseline) != 1:
        return None
    _, losses = of_arm[0]
    _, baseline_losses = of_baseline[0]
    table = pd.DataFrame([losses], columns=range(1, len(losses) + 1))
    return float(first_epochs(table, pd.Series([baseline_losses[-1]]))[0])


def _epochs_text(epochs: np.ndarray) -> str:
    if not len(epochs):
        return NO_NUMBER
    text = f"{np.median(epochs):g} ({epochs.min():g} to {epochs.max():g})"
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
    hit = losses.loc[seeds].le(targets[seeds], axis=0)
    return np.where(hit.any(axis=1), hit.idxmax(axis=1).astype(float), math.inf)


def curves_by_seed(comparison: Comparison, metric: str) -> dict[str, pd.DataFrame]:
    """The metric of all finished runs by epoch.

    Returns:
        A table per arm, one row per seed and one column per epoch; an empty one for
        arms without curves.
    """
    runs = comparison.runs[comparison.runs["status"] == "finished"]
    curves = read_curves(runs, [metric])
    curves = curves.assign(epoch=curves["epoch"].astype(int))
    curves = curves.join(runs[["arm", "seed"]], on="index")
    tables = {arm: pd.DataFrame() for arm in comparison.arms}
    for arm, part in curves.groupby("arm"):
        tables[arm] = part.pivot_table(metric, "seed", "epoch", "last")
    return tables


def curve_table(comparison: Comparison, entry: dict[str, Any], metric: str) -> str:
    """One row per epoch: mean and SD of every arm, and what the notebook printed."""
    tables = curves_by_seed(comparison, metric)
    printed = {arm: quotes(entry, arm, metric) for arm in comparison.arms}
    columns = ["epoch"]
    for arm in comparison.arms:
        columns.append(arm)
        columns += [heading for heading, _ in printed[arm]]

    rows = []
    num_epochs = max(table.shape[1] for table in tables.values())
    for epoch in range(1, num_epochs + 1):
        row = [str(epoch)]
        for arm in comparison.arms:
            values = tables[arm].get(epoch, pd.Series(dtype=float)).dropna()
            mean = _or_dash(values.mean(), "{:.3f}")
            row.append(mean + _or_dash(values.std(), " ({:.3f})"))
            row += [_printed_loss(losses, epoch, values) for _, losses in printed[arm]]
        rows.append(row)

    note = ""
    if any(cell.endswith("*") for row in rows for cell in row):
        note = "; * lies outside of all runs here"
    table = rows_to_markdown(columns, rows)
    return f"**{metric}** by epoch, mean (SD) over seeds{note}\n\n{table}"


def _printed_loss(losses: list[float], epoch: int, ours: pd.Series) -> str:
    """The notebook's loss, with a star if it lies outside of all our runs."""
    if epoch > len(losses):
        return NO_NUMBER
    value = losses[epoch - 1]
    is_outside = len(ours) > 0 and not ours.min() <= value <= ours.max()
    return f"{value:.3f}{'*' if is_outside else ''}"
