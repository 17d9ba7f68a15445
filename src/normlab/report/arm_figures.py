"""Figures of the compared metric: every arm, its response to a number, and pairs."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from normlab.colours import COLOURS, GREY
from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number, percent
from normlab.compare.settings import NO_SETTING, has_numbers, pairing_keys
from normlab.compare.summaries import finished_runs
from normlab.report.axes import (
    MOST_PANELS,
    arm_lines,
    arm_marker,
    arm_style,
    arms_in,
    limit_accuracy_axis,
    make_panels,
    metric_lines,
    one_setting_per_line,
    share_limits,
    spans_a_decade,
)
from normlab.report.drawing import INK, Drawing
from normlab.report.groups import first_groups, groups_note

FALLING = {"color": GREY, "linestyle": "--", "alpha": 0.9}
EQUAL = {"color": GREY, "alpha": 0.35}


def draw_arms(comparison: Comparison) -> Drawing:
    """Draw every run as a point, and mean and interval of every arm."""
    metric = comparison.metric
    groups = first_groups(comparison.runs)
    summaries = comparison.summaries.set_index(["where", "arm"]).to_dict("index")
    most_arms = max(group["arm"].nunique() for _, group in groups)

    figure, axes = make_panels(len(groups), height=0.9 + 0.42 * most_arms)
    for axis, (name, group) in zip(axes, groups, strict=True):
        arms = arms_in(comparison, group)
        for place, arm in enumerate(arms):
            of_arm = rows_of_arm(group, arm)
            finished = finished_runs(of_arm, metric)
            values = finished[metric].to_numpy(float)
            _draw_points(axis, comparison, arm, place, values)
            _draw_summary(axis, comparison, arm, place, summaries[name, arm])
        labels = [_arm_label(group, arm) for arm in arms]
        axis.set_yticks(range(len(arms)), labels)
        title = one_setting_per_line(name)
        axis.set(xlabel=metric_lines(metric), title=title, ylim=(len(arms) - 0.4, -0.6))
        axis.grid(axis="y", visible=False)
        limit_accuracy_axis(axis.xaxis, metric)
        axis.xaxis.set_major_locator(MaxNLocator(5))

    over = "seeds"
    if _has_folds(comparison):
        over = "folds, allowing for the training data that they share"
    caption = (
        "Every run as a point; below them mean and "
        f"{percent(comparison.confidence)} t interval over {over}."
        f"{groups_note(comparison.runs)}"
    )
    means = ", ".join(_mean_texts(comparison))
    description = f"Mean {metric}: {means}"
    return Drawing("arms", f"{metric} by arm", caption, description, figure)


def _has_folds(comparison: Comparison) -> bool:
    if "design" not in comparison.contrasts:
        return False
    return "folds" in set(comparison.contrasts["design"])


def _mean_texts(comparison: Comparison) -> list[str]:
    texts = []
    for row in comparison.summaries.to_dict("records"):
        at = f" at {row['where']}" if row["where"] else ""
        texts.append(f"{row['arm']}{at} {number(row['mean'])}")
    return texts


def _draw_points(
    axis: Axes, comparison: Comparison, arm: str, place: int, values: np.ndarray
) -> None:
    """Draw runs as points, moved apart so that equal values stay visible."""
    spread = np.zeros(len(values))
    if len(values) > 1:
        spread = np.linspace(-0.17, 0.17, len(values))
    generator = np.random.default_rng(0)
    jitter = generator.permutation(spread) - 0.08
    axis.scatter(
        values,
        place + jitter,
        s=14,
        color=arm_style(comparison, arm)["color"],
        alpha=0.7,
        linewidth=0,
        marker=arm_marker(comparison, arm),
    )


def _draw_summary(
    axis: Axes, comparison: Comparison, arm: str, place: int, summary: dict[Any, Any]
) -> None:
    """Draw mean and interval below the points."""
    if summary["n"] < 2:
        return
    colour = arm_style(comparison, arm)["color"]
    height = place + 0.27
    low = summary["low"]
    high = summary["high"]
    axis.plot(
        [low, high],
        [height, height],
        color=colour,
        linewidth=2,
        solid_capstyle="butt",
    )
    marker = arm_marker(comparison, arm)
    axis.plot(summary["mean"], height, marker, color=colour, markersize=6)


def _arm_label(group: pd.DataFrame, arm: str) -> str:
    """The arm, and how many of its runs did not finish."""
    counts = group.loc[group["arm"] == arm, "status"].value_counts()
    lines = [arm_lines(arm)]
    for status in ("diverged", "failed"):
        if status in counts:
            lines.append(f"{counts[status]} {status}")
    return "\n".join(lines)


def draw_response(comparison: Comparison) -> Drawing | None:
    """Draw the metric against the compared setting, if that is a number.

    The arm without the setting is left out. None if several settings are compared,
    fewer than three values, or no numbers.
    """
    key = comparison.by[0]
    arms = [arm for arm in comparison.arms if arm != NO_SETTING]
    are_numbers = has_numbers(comparison.runs[key])
    if len(comparison.by) > 1 or len(arms) < 3 or not are_numbers:
        return None

    with_setting = comparison.runs[comparison.runs["arm"].isin(arms)]
    groups = first_groups(with_setting)
    figure, axes = make_panels(len(groups))
    means = []
    for axis, (name, group) in zip(axes, groups, strict=True):
        rows = comparison.summaries[comparison.summaries["where"] == name]
        rows = rows[rows["arm"].isin(arms)]
        rows = rows.assign(value=rows["arm"].astype(float)).sort_values("value")
        runs = finished_runs(group, comparison.metric)
        _draw_line(axis, rows, runs[key].infer_objects(), runs[comparison.metric])
        title = one_setting_per_line(name)
        axis.set(xlabel=key, ylabel=metric_lines(comparison.metric), title=title)
        limit_accuracy_axis(axis.yaxis, comparison.metric)
        for row in rows.to_dict("records"):
            means.append(f"{row['arm']}: {number(row['mean'])}")

    caption = (
        f"Every run as a point; mean and {percent(comparison.confidence)} t interval."
        f"{groups_note(with_setting)}"
    )
    title = f"{comparison.metric} against {key}"
    return Drawing("response", title, caption, "; ".join(means), figure)


def _draw_line(
    axis: Axes, rows: pd.DataFrame, settings: pd.Series, values: pd.Series
) -> None:
    """Draw runs as points, and mean and interval of every arm along its number."""
    colour = COLOURS[0]
    axis.scatter(settings, values, s=10, color=colour, alpha=0.5, linewidth=0)
    x = rows["value"]
    axis.fill_between(
        x,
        rows["low"],
        rows["high"],
        color=colour,
        alpha=0.18,
        linewidth=0,
    )
    axis.plot(x, rows["mean"], "o-", color=colour, markersize=4)
    if spans_a_decade(x):
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(x, rows["arm"])


def draw_pairs(comparison: Comparison) -> Drawing | None:
    """Draw one line per seed from the baseline to the arm.

    None if no arms share seeds.
    """
    contrasts = comparison.contrasts.to_dict("records")
    paired = [row for row in contrasts if row["n"] and row["design"] != "independent"]
    paired = paired[:MOST_PANELS]
    if not paired:
        return None

    figure, axes = make_panels(len(paired), width=2.4)
    counts = []
    for axis, row in zip(axes, paired, strict=True):
        table = _paired_values(comparison, row)
        _draw_pair_lines(axis, comparison, table)
        _label_pair(axis, comparison, row)
        arm = row["arm"]
        baseline = row["baseline"]
        up = int((table[arm] > table[baseline]).sum())
        counts.append(f"{arm} is above {baseline} in {up} of {len(table)} pairs")
    share_limits(axes, axes)

    caption = (
        "Every line is a seed (and fold): coloured if it rises, grey and dashed if it "
        "falls, light if both are equal. The thick line joins the means; r is the "
        "correlation over the lines."
    )
    if len(contrasts) > MOST_PANELS:
        caption += f" The first {len(paired)} of {len(contrasts)} contrasts."
    title = "The same seed in both arms"
    return Drawing("pairs", title, caption, "; ".join(counts), figure)


def _paired_values(comparison: Comparison, row: dict[Any, Any]) -> pd.DataFrame:
    """The metric of baseline and arm in two columns, one row per seed (and fold)."""
    is_there = comparison.runs["where"] == row["where"]
    runs = finished_runs(comparison.runs[is_there], comparison.metric)
    table = runs.pivot_table(
        index=pairing_keys(runs), columns="arm", values=comparison.metric
    )
    return table[[row["baseline"], row["arm"]]].dropna()


def _draw_pair_lines(axis: Axes, comparison: Comparison, table: pd.DataFrame) -> None:
    arm = table.columns[1]
    for before, after in table.to_numpy(float):
        axis.plot(
            [0, 1],
            [before, after],
            marker="o",
            markersize=3,
            linewidth=1,
            **_line_style(comparison, arm, before, after),
        )
    means = table.mean().to_numpy(float)
    axis.plot([0, 1], means, "D-", color=INK, markersize=5, linewidth=2)


def _line_style(
    comparison: Comparison, arm: str, before: float, after: float
) -> dict[str, Any]:
    if before == after:
        return EQUAL
    if after < before:
        return FALLING
    return {"color": arm_style(comparison, arm)["color"], "alpha": 0.8}


def _label_pair(axis: Axes, comparison: Comparison, row: dict[Any, Any]) -> None:
    lines = []
    if row["where"]:
        lines.append(one_setting_per_line(row["where"]))
    if not np.isnan(row["correlation"]):
        lines.append(f"r = {row['correlation']:.2f}".replace("-", "−"))
    axis.set_xticks([0, 1], [arm_lines(row["baseline"]), arm_lines(row["arm"])])
    axis.set(
        xlim=(-0.3, 1.3), title="\n".join(lines), ylabel=metric_lines(comparison.metric)
    )
    axis.grid(axis="x", visible=False)
