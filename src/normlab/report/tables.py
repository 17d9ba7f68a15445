"""The tables of a comparison, as text: arms, contrasts, and times to a target."""

import math
from dataclasses import dataclass

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import (
    NO_NUMBER,
    direction,
    number,
    percent,
    signed,
)
from normlab.compare.shapes import UNEQUAL_SPREADS
from normlab.report.table_columns import (
    Cell,
    Column,
    Row,
    count_column,
    decimals,
    interval_column,
    number_column,
    p_value_column,
    text_column,
    time_column,
    two_decimals_column,
    with_minus,
)
from normlab.terminal import without_control

NOTHING = (NO_NUMBER, "0", "")


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        name: The name of its files, without ending.
        title: The title above the table.
        columns: The headers.
        rows: One cell per column: the text, and the value to sort by.
        numeric: Whether each column is aligned to the right.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    numeric: list[bool]


def _make_table(
    name: str, title: str, records: list[Row], columns: dict[str, Column]
) -> Table:
    """Make a table without the columns that are a dash, zero or empty in every row.

    The arm always stays, whatever it is called.
    """
    headers = []
    kept = []
    numeric = []
    for header, cell in columns.items():
        cells = [cell(record) for record in records]
        is_empty = all(text in NOTHING for text, _ in cells)
        if is_empty and header != "arm":
            continue
        _, first_value = cells[0]
        headers.append(header)
        kept.append(cells)
        numeric.append(not isinstance(first_value, str))
    rows = [list(cells) for cells in zip(*kept, strict=True)]
    return Table(name, without_control(title), headers, rows, numeric)


def summary_table(comparison: Comparison) -> Table:
    """One row per arm and group: centre, spread, interval, and the runs left out."""
    summaries = comparison.summaries
    confidence = percent(comparison.confidence)
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "n": count_column("n"),
        "mean": number_column("mean"),
        "SD": number_column("sd"),
        f"{confidence} interval": interval_column("low", "high", with_minus),
        "median": number_column("median"),
        "min": number_column("min"),
        "max": number_column("max"),
        f"{confidence} bootstrap": interval_column("bca_low", "bca_high", with_minus),
        "diverged": count_column("diverged"),
        "failed": count_column("failed"),
        "no metric": count_column("without_metric"),
    }
    if (summaries["diverged"] > 0).any():
        columns["trained"] = lambda row: (_trained(row), row["trained"])
    if summaries["parameters"].nunique() > 1:
        columns["parameters"] = count_column("parameters", ",.0f")

    metric = comparison.metric
    title = f"{metric} by {', '.join(comparison.by)} ({direction(metric)})"
    return _make_table("arms", title, summaries.to_dict("records"), columns)


def _trained(row: Row) -> str:
    """The share of runs that did not diverge; those that failed do not count."""
    if math.isnan(row["trained"]):
        return NO_NUMBER
    interval = f"{row['trained_low']:.0%} to {row['trained_high']:.0%}"
    return f"{row['trained']:.0%} ({interval})"


def contrast_table(comparison: Comparison) -> Table:
    """One row per contrast: difference, interval, tests, effect sizes, verdict."""
    confidence = percent(comparison.confidence)
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "n": lambda row: (_size(row), row["n"]),
        "difference": lambda row: (signed(row["difference"]), row["difference"]),
        f"{confidence} interval": interval_column("low", "high", signed),
        "verdict": text_column("verdict"),
        "r": two_decimals_column("correlation"),
        "p": p_value_column("p"),
        "p (Holm)": p_value_column("p_holm"),
        "p (permutation)": p_value_column("permutation_p"),
        "Hedges g": two_decimals_column("hedges_g"),
        "P(better)": lambda row: (_improvement(row), row["improvement"]),
        "p (equivalent)": p_value_column("equivalence_p_holm"),
    }
    records = comparison.contrasts.to_dict("records")
    if (comparison.contrasts["spread_ratio"] > UNEQUAL_SPREADS).any():
        columns["median"] = lambda row: (signed(row["median"]), row["median"])
    title = f"Difference to {comparison.baseline} in {comparison.metric}"
    margins = set(comparison.margins.values())
    if len(margins) == 1:
        title += f", margin ±{number(margins.pop())}"
    elif margins:
        columns["margin"] = number_column("margin")
    if len(records) > 1:
        columns["interval (Holm)"] = _corrected_interval
    return _make_table("contrasts", title, records, columns)


def _corrected_interval(row: Row) -> Cell:
    """The interval that agrees with `p (Holm)`, and its confidence."""
    if math.isnan(row["low_holm"]):
        return NO_NUMBER, row["low_holm"]
    low = signed(row["low_holm"])
    high = signed(row["high_holm"])
    return f"{low} to {high} ({percent(row['confidence'])})", row["low_holm"]


def _size(row: Row) -> str:
    """The number of pairs, or of runs of the arm and of the baseline."""
    if row["design"] == "independent":
        return f"{row['n']} / {row['n_baseline']}"
    return f"{row['n']} pairs"


def _improvement(row: Row) -> str:
    text = decimals(row["improvement"])
    if math.isnan(row["improvement_low"]):
        return text
    return f"{text} ({row['improvement_low']:.2f} to {row['improvement_high']:.2f})"


def noise_table(rows: list[dict], comparison: Comparison) -> Table:
    """One row per contrast: its intervals without and with other test samples.

    Args:
        rows: Those of `TestPart.noise`.
        comparison: The comparison that they belong to.
    """
    confidence = percent(comparison.confidence)
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "n": lambda row: (_size(row), row["n"]),
        "test samples": count_column("samples", ",.0f"),
        "difference": lambda row: (signed(row["difference"]), row["difference"]),
        f"{confidence} over seeds": interval_column("seeds_low", "seeds_high", signed),
        f"{confidence} over seeds and test samples": interval_column(
            "low", "high", signed
        ),
        "variance from test set": lambda row: (
            percent(round(row["share"], 2)),
            row["share"],
        ),
    }
    title = f"Noise of the test set: difference to {comparison.baseline}"
    return _make_table("test_noise", f"{title} in {comparison.metric}", rows, columns)


def mcnemar_table(rows: list[dict]) -> Table:
    """One row per pair of single runs: which of them is right on how many samples.

    Args:
        rows: Those of `TestPart.single`.
    """
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "baseline": text_column("baseline"),
        "test samples": count_column("samples", ",.0f"),
        "both right": count_column("both", ",.0f"),
        "arm alone": count_column("only_arm", ",.0f"),
        "baseline alone": count_column("only_baseline", ",.0f"),
        "both wrong": count_column("neither", ",.0f"),
        "p (McNemar, exact)": p_value_column("p"),
    }
    return _make_table("mcnemar", "Two trained networks, by sample", rows, columns)


def samples_table(rows: list[dict], metric: str) -> Table:
    """One row per contrast and test sample: what both arms make of it.

    Args:
        rows: Those of `TestPart.samples`, with the names of classes.
        metric: What is compared.
    """
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "row": count_column("sample"),
    }
    if metric == "test/accuracy":
        columns |= {
            "class": text_column("target"),
            "right": lambda row: _times_right(row, ""),
            "baseline right": lambda row: _times_right(row, "_baseline"),
            "taken for": text_column("predicted"),
            "by the baseline": text_column("predicted_baseline"),
        }
    else:
        columns |= {
            "target": number_column("target"),
            "error": lambda row: _error(row, "", metric),
            "error of the baseline": lambda row: _error(row, "_baseline", metric),
            "prediction": number_column("predicted"),
            "of the baseline": number_column("predicted_baseline"),
        }
    title = "Test samples on which the arms differ most"
    return _make_table("test_samples", title, rows, columns)


def tasks_table(rows: list[dict], title: str, confidence: float) -> Table:
    """One row per arm: its mean rank over tasks, and its normalized score.

    Args:
        rows: Those of `SeveralTasks.arms`.
        title: Over which tasks.
        confidence: Of the interval.
    """
    columns = {
        "arm": text_column("arm"),
        "mean rank": two_decimals_column("rank"),
        "verdict": text_column("verdict"),
        "p": p_value_column("p"),
        "p (Holm)": p_value_column("p_holm"),
        "IQM": two_decimals_column("iqm"),
        f"{percent(confidence)} of IQM": interval_column(
            "iqm_low", "iqm_high", decimals
        ),
    }
    return _make_table("tasks", title, rows, columns)


def _times_right(row: Row, suffix: str) -> Cell:
    mean = row[f"mean{suffix}"]
    runs = row[f"n{suffix}"]
    return f"{mean * runs:.0f} of {runs}", mean


def _error(row: Row, suffix: str, metric: str) -> Cell:
    """The error over runs, from the mean of what the metric averages."""
    error = row[f"mean{suffix}"]
    if metric == "test/rmse":
        error = math.sqrt(error)
    return number(error), error


def target_table(times: pd.DataFrame, metric: str, target: float) -> Table:
    """One row per arm, group and clock: how many runs reach the target, and when.

    Args:
        times: The table that `time_to_target` returns.
        metric: The metric that has a target.
        target: The value to reach.
    """
    columns = {
        "where": text_column("where"),
        "arm": text_column("arm"),
        "in": text_column("clock"),
        "reached": _reached,
        "median": time_column("median"),
        "restricted mean": time_column("restricted_mean"),
        "up to": time_column("horizon"),
        "p (log-rank)": p_value_column("p"),
        "p (Holm)": p_value_column("p_holm"),
        "no curve": count_column("without_curves"),
    }
    title = f"Time to {metric} {target:g}"
    return _make_table("time_to_target", title, times.to_dict("records"), columns)


def _reached(row: Row) -> Cell:
    share = row["reached"] / max(row["runs"], 1)
    return f"{row['reached']} of {row['runs']}", share


def budget_table(curves: pd.DataFrame, key: str, metric: str) -> Table:
    """One row per arm and group: the best validation score by the values tried.

    Args:
        curves: The table that `budget_curves` returns, with at least one row.
        key: The setting whose values were tried.
        metric: The validation metric.
    """
    records = []
    for names, part in curves.groupby(["where", "arm"], sort=False):
        record: Row = dict(zip(("where", "arm"), names, strict=True))
        for row in part.to_dict("records"):
            record[row["tried"]] = row
        records.append(record)
    columns = {"where": text_column("where"), "arm": text_column("arm")}
    for tried in _shown_budgets(curves):
        columns[f"{tried} tried"] = _best_of(tried)
    title = f"Best {metric} by the number of values of {key} tried (± its interval)"
    return _make_table("budgets", title, records, columns)


def _shown_budgets(curves: pd.DataFrame) -> list[int]:
    """All numbers up to 5; of more 1, 2, 4, 8, ... and the last one of every arm."""
    most = int(curves["tried"].max())
    if most <= 5:
        return list(range(1, most + 1))
    powers = [2**power for power in range(most.bit_length())]
    last = curves.groupby(["where", "arm"])["tried"].max()
    return sorted({*powers, *last.tolist()})


def _best_of(tried: int) -> Column:
    def cell(record: Row) -> Cell:
        row = record.get(tried)
        if row is None:
            return NO_NUMBER, math.nan
        half = (row["high"] - row["low"]) / 2
        text = with_minus(row["score"])
        if not math.isnan(half):
            text += f" ± {number(half)}"
        if row["trains"] < 1:
            text += f" ({percent(row['trains'])} train)"
        return text, row["score"]

    return cell
