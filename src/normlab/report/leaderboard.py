"""Which arm reaches a target soonest, and whether that is a new record.

The baseline of the comparison holds the record. Another arm takes it if the test of
pairs with the same seed shows that it is faster, after Holm's correction for all arms,
and with at least `SEEDS` pairs. A run that never reaches the target counts in the way
that speaks most against the claim, see `normlab.study.target_ratio`.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import NO_NUMBER, p_value, percent
from normlab.compare.settings import distinct_texts
from normlab.metrics import parse_target
from normlab.report.table_formats import markdown_rows
from normlab.results import written_whole
from normlab.spreadsheets import without_formulas
from normlab.study.comparing import compare_speeds
from normlab.study.target_ratio import BEST, REACHED, TIME, WORST, Speeds, speeds_of

SEEDS = 20  # fewest pairs that make a record
CLOCKS = ("steps", "seconds")
QUARTILES = (0.25, 0.5, 0.75)
ENDINGS = (".md", ".csv")
# Columns that tell on which machine a run was made, and what a sentence calls them.
MACHINE = {
    "environment.device.name": "device",
    "environment.device.threads": "threads",
    "environment.platform": "platform",
}
FASTER, SLOWER, OPEN, HOLDER = "faster", "slower", "not told apart", "holds the record"


@dataclass(frozen=True)
class Leaderboard:
    """The arms by the time that they take to a target.

    Attributes:
        target: metric and value, `test/accuracy=0.98`.
        holder: the arm that held the record before.
        level: probability of a false record.
        rows: one per arm, the one with the fewest steps first.
        times: one row per run, with its arm, seed and status, whether it reached the
            target, and when.
        notes: sentences on the rows: who holds the record by each clock, and which runs
            were left out.
    """

    target: str
    holder: str
    level: float
    rows: pd.DataFrame
    times: pd.DataFrame
    notes: list[str]


def check_leaderboard(
    paths: Sequence[Path], target: str | None, baseline: str | None
) -> None:
    """Refuse what no leaderboard can be made of, before any work.

    Args:
        paths: the files to write.
        target: metric and value, as `parse_target` takes them.
        baseline: the arm that holds the record.

    Raises:
        ValueError: says what is missing, or which file cannot be written.
    """
    if target is None or baseline is None:
        raise ValueError(
            "leaderboard needs target, such as test/accuracy=0.98, and baseline, the "
            "arm that holds the record"
        )
    for path in paths:
        if path.suffix not in ENDINGS or not path.absolute().parent.is_dir():
            raise ValueError(
                "leaderboard must name files that end in .md or .csv, in a folder that "
                f"exists; got {path}"
            )
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise ValueError(f"leaderboard must name files to write, got {path}")


def make_leaderboard(comparison: Comparison, target: str) -> Leaderboard:
    """Order the arms of a comparison by the time that they take to a target.

    Args:
        comparison: its runs and arms; its baseline holds the record.
        target: metric and value, such as `test/accuracy=0.98`.

    Raises:
        ValueError: no run of an arm has a curve of the metric, there are several groups
            of runs, or the time of a step is not known.
    """
    if comparison.runs["where"].nunique() > 1:
        raise ValueError(
            "leaderboard needs runs that differ in arm and seed only, these differ in "
            f"{', '.join(comparison.within)} too"
        )
    by_steps = _speeds(comparison, target, "steps")
    by_seconds = _speeds(comparison, target, "seconds")
    runs = by_steps.runs
    _check_arms(comparison, runs, target)
    rows = _rows(comparison, by_steps, "steps")
    rows = rows.join(_rows(comparison, by_seconds, "seconds"))
    arms = runs.groupby("arm")[REACHED]
    rows = rows.assign(runs=arms.size(), reached=arms.sum())
    notes = []
    for clock in CLOCKS:
        note = _record_note(rows, clock, comparison.baseline)
        notes.append(note)
    if by_steps.reason:
        notes.append(f"Left out: {by_steps.reason}.")
    notes += _failure_notes(runs)
    notes += _machine_notes(runs)
    times = runs[["arm", "seed", "status", REACHED]]
    times = times.assign(steps=runs[TIME], seconds=by_seconds.runs[TIME])
    return Leaderboard(
        target=target,
        holder=comparison.baseline,
        level=comparison.level,
        rows=rows.sort_values(["steps_median", "steps_mean", "seconds_median"]),
        times=times.sort_values(["arm", "seed"]),
        notes=notes,
    )


def _speeds(comparison: Comparison, target: str, clock: str) -> Speeds:
    metric, value = parse_target(target)
    plan = _plan(comparison)
    plan["ratio_to_target"] = {"metric": metric, "target": value, "clock": clock}
    return speeds_of(plan, comparison.runs)


def _rows(comparison: Comparison, speeds: Speeds, clock: str) -> pd.DataFrame:
    """One row per arm, with the clock before the names of its columns."""
    contrasts = _contrasts(comparison, speeds)
    rows = _times_of_arms(speeds.runs).join(contrasts)
    return rows.add_prefix(f"{clock}_")


def _check_arms(comparison: Comparison, runs: pd.DataFrame, target: str) -> None:
    """Refuse compared arms all of whose runs were left out.

    Args:
        comparison: may have runs of other arms, which are not compared.
        runs: of `Speeds`.
        target: metric and value.
    """
    compared = {comparison.baseline, *_plan(comparison)["arms"]}
    lacking = compared - set(runs["arm"])
    if lacking:
        metric, _ = parse_target(target)
        raise ValueError(
            f"leaderboard needs {metric} in metrics.csv, no run of "
            f"{', '.join(sorted(lacking))} has it; train them again with rerun=true, "
            "or name the other arms with arms"
        )


def _failure_notes(runs: pd.DataFrame) -> Iterator[str]:
    """A sentence on runs that failed, of which nothing is known, by their arms."""
    failed = runs[runs["status"] == "failed"]
    if failed.empty:
        return
    counts = []
    for arm, count in failed["arm"].value_counts(sort=False).items():
        counts.append(f"{count} of {arm}")
    yield (
        f"{len(failed)} of {len(runs)} runs failed ({', '.join(counts)}): pairs with "
        f"them do not count among the {SEEDS} that a record needs."
    )


def _machine_notes(runs: pd.DataFrame) -> Iterator[str]:
    """A sentence on machines that differ, on which seconds depend."""
    texts = []
    for column, name in MACHINE.items():
        known = runs[column].dropna() if column in runs else runs["arm"].head(0)
        if known.nunique() > 1:
            texts.append(f"{name} {distinct_texts(known)}")
    if texts:
        yield (
            f"The runs were made on different machines ({'; '.join(texts)}), which may "
            "explain differences in seconds."
        )


def _plan(comparison: Comparison) -> dict[str, Any]:
    """The comparison as the plan of a claim."""
    arms = []
    if len(comparison.contrasts):
        arms = comparison.contrasts["arm"].tolist()
    return {
        "by": comparison.by,
        "baseline": comparison.baseline,
        "arms": arms,
        "within": [],
        "level": comparison.level,
    }


def _times_of_arms(runs: pd.DataFrame) -> pd.DataFrame:
    """Quartiles and mean of the times to the target, one row per arm.

    A run that does not reach it takes for ever.

    Args:
        runs: of `Speeds`.
    """
    rows = {}
    times = runs[TIME].astype(float).fillna(math.inf)
    for arm, part in times.groupby(runs["arm"]):
        quartiles = np.quantile(part, QUARTILES, method="inverted_cdf")
        rows[arm] = [*quartiles, part.mean()]
    columns = ["low", "median", "high", "mean"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _contrasts(comparison: Comparison, speeds: Speeds) -> pd.DataFrame:
    """How many times as fast as the holder every arm is, and what that shows.

    Returns:
        one row per arm, with `ratio`, its corrected interval from `ratio_low` to
        `ratio_high`, `pairs`, `p` and `verdict`. There is no ratio if a run of either
        arm never reached the target.
    """
    plan = _plan(comparison)
    at_worst = compare_speeds(plan, speeds, WORST).contrasts
    at_best = compare_speeds(plan, speeds, BEST).contrasts
    arrived = speeds.runs.groupby("arm")[REACHED].all()
    rows: dict[str, dict[str, Any]] = {comparison.baseline: {"verdict": HOLDER}}
    both = zip(at_worst.to_dict("records"), at_best.to_dict("records"), strict=True)
    for worst, best in both:
        arm = worst["arm"]
        rows[arm] = {
            "pairs": _num_pairs(worst),
            "p": worst["p_holm"],
            "verdict": _verdict(worst, best),
        }
        if arrived[arm] and arrived[comparison.baseline]:
            rows[arm]["ratio"] = 10 ** worst["difference"]
            rows[arm]["ratio_low"] = 10 ** worst["low_holm"]
            rows[arm]["ratio_high"] = 10 ** worst["high_holm"]
    columns = ["ratio", "ratio_low", "ratio_high", "pairs", "p", "verdict"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _num_pairs(row: dict) -> int:
    if not row["judged_in_pairs"]:
        return 0
    return min(row["judged"], row["judged_baseline"])


def _verdict(worst: dict, best: dict) -> str:
    """What the pairs show about an arm.

    Args:
        worst: its contrast by the times that speak most against it.
        best: its contrast by those that speak most for it.
    """
    pairs = _num_pairs(worst)
    if pairs < SEEDS:
        return f"{pairs} of {SEEDS} pairs"
    if worst["verdict"] == "better":
        return FASTER
    if best["verdict"] == "worse":
        return SLOWER
    return OPEN


def _record_note(rows: pd.DataFrame, clock: str, holder: str) -> str:
    """Who holds the record now.

    Args:
        rows: of all arms.
        clock: what counts the time.
        holder: the arm that held it before.
    """
    faster = rows[rows[f"{clock}_verdict"] == FASTER]
    if faster.empty:
        return (
            f"In {clock}, the record of {holder} stands: no other arm is shown to be "
            f"faster in {SEEDS} pairs or more."
        )
    order = [f"{clock}_median", f"{clock}_mean"]
    best = faster.sort_values(order).iloc[0]
    return (
        f"In {clock}, {best.name} has a new record: it is shown to be faster than "
        f"{holder}, which held it ({best[f'{clock}_pairs']:.0f} pairs of runs with the "
        f"same seed, {p_value(best[f'{clock}_p'])} after Holm's correction)."
    )


def leaderboard_markdown(board: Leaderboard) -> str:
    """The leaderboard as a Markdown table, with its notes below."""
    columns = ["arm", "reached"]
    for clock in CLOCKS:
        columns += [f"{clock} (quartiles)", "times as fast", f"in {clock}"]
    rows = []
    for arm, row in board.rows.iterrows():
        cells = [str(arm), f"{row['reached']} of {row['runs']}"]
        for clock in CLOCKS:
            cells += _clock_cells(row, clock)
        rows.append(cells)
    confidence = percent(1 - board.level)
    caption = (
        f"Time to {board.target}: median over seeds, with the first and third "
        "quartile. Seconds are those of optimizer steps alone. Times as fast as "
        f"{board.holder}: geometric mean over pairs with the same seed, with a "
        f"{confidence} interval that agrees with Holm's correction."
    )
    numeric = [False, *[True] * (len(columns) - 1)]
    table = markdown_rows(columns, rows, numeric)
    return "\n\n".join([table, caption, *board.notes]) + "\n"


def _clock_cells(row: pd.Series, clock: str) -> list[str]:
    """Median with quartiles, ratio with interval, and verdict."""
    prefix = f"{clock}_"
    own = row.rename(lambda name: name.removeprefix(prefix))
    low = _time(own["low"], clock)
    median = _time(own["median"], clock)
    high = _time(own["high"], clock)
    times = f"{median} ({low} to {high})"
    ratio = own["ratio"]
    if math.isnan(ratio):
        return [times, NO_NUMBER, own["verdict"]]
    least = own["ratio_low"]
    most = own["ratio_high"]
    interval = f"({least:.2f} to {most:.2f})"
    return [times, f"{ratio:.2f} {interval}", own["verdict"]]


def _time(value: float, clock: str) -> str:
    if math.isinf(value):
        return "never"
    if clock == "steps":
        return f"{value:,.0f}"
    return f"{value:.2f}"


def write_leaderboard(board: Leaderboard, path: Path) -> None:
    """Write the table to a file that ends in `.md`, or all runs to one in `.csv`."""
    if path.suffix == ".csv":
        text = without_formulas(board.times).to_csv(index=False)
    else:
        text = leaderboard_markdown(board)
    with written_whole(path, follow_links=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
