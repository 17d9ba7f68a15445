"""Figures of the metric against hyperparameters: along one, and over two of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Candidates, Comparison
from normlab.compare.intervals import t_interval
from normlab.compare.sentences import number
from normlab.compare.settings import (
    arm_labels,
    group_labels,
    has_numbers,
    setting_text,
    sorted_labels,
)
from normlab.compare.summaries import finished_runs
from normlab.metrics import higher_is_better
from normlab.report.axes import (
    MOST_PANELS,
    add_legend,
    arm_marker,
    arm_style,
    arms_in,
    band_caption,
    draw_arm_band,
    limit_accuracy_axis,
    make_logarithmic,
    make_panels,
    metric_lines,
    one_setting_per_line,
    spans_a_decade,
)
from normlab.report.drawing import Drawing
from normlab.report.groups import (
    first_groups,
    first_of_note,
    groups_note,
    is_learning_rate,
)

MOST_COLUMNS = 3  # of a figure with two rows of panels


def numeric_settings(comparison: Comparison, least: int) -> list[str]:
    """Settings of groups and arms that are numbers with at least `least` values.

    Learning rates come first.
    """
    runs = comparison.runs
    keys = []
    for key in [*comparison.within, *comparison.by]:
        if has_numbers(runs[key]) and runs[key].nunique() >= least:
            keys.append(key)
    return sorted(keys, key=lambda key: not is_learning_rate(key))


def draw_sensitivity(comparison: Comparison) -> Drawing | None:
    """Draw the metric, and the share of diverged runs, along a hyperparameter.

    The hyperparameter is the learning rate if it varies. None if no setting that is a
    number varies.
    """
    comparison, candidates = _candidates(comparison)
    if candidates is None:
        return None
    key = candidates.key
    runs = candidates.runs
    if not has_numbers(runs[key]):
        return None
    runs = runs[(runs["status"] != "failed") & runs[key].notna()]
    runs = runs.assign(**{key: runs[key].infer_objects()})
    others = [other for other in comparison.within if other != key]
    runs = runs.assign(where=group_labels(runs, others))

    diverged = bool((runs["status"] == "diverged").any())
    rows = 1
    height = 2.7
    if diverged:
        rows = 2
        height = 2.3
    groups = first_groups(runs, MOST_COLUMNS)
    figure, axes = make_panels(rows * len(groups), rows=rows, height=height)
    descriptions = []
    for place, (name, group) in enumerate(groups):
        column = axes[place :: len(groups)]
        part = replace(candidates, runs=group)
        descriptions += _draw_scores(column[0], comparison, part, name)
        if diverged:
            column[0].tick_params(labelbottom=False)
            _draw_shares(column[1], comparison, part)
        column[-1].set_xlabel(key)
        if spans_a_decade(group[key]):
            for axis in column:
                make_logarithmic(axis.xaxis)
    add_legend(figure, axes[0])

    return Drawing(
        "sensitivity",
        f"{candidates.metric}{' and divergence' if diverged else ''} against {key}",
        _sensitivity_caption(comparison, runs, key, diverged),
        "; ".join(descriptions),
        figure,
    )


def _candidates(comparison: Comparison) -> tuple[Comparison, Candidates | None]:
    """The runs along a setting, if there is one to draw along.

    If that is a learning rate that is part of the arms, the arms of the returned
    comparison are made of the other settings.
    """
    if comparison.candidates:
        return comparison, comparison.candidates

    rates = []
    if len(comparison.by) > 1:
        rates = [key for key in comparison.by if is_learning_rate(key)]
    allowed = {*comparison.within, *rates}
    keys = [key for key in numeric_settings(comparison, 3) if key in allowed]
    if not keys:
        return comparison, None

    key = keys[0]
    if key in rates:
        runs = comparison.runs
        others = [other for other in comparison.by if other != key]
        arms = arm_labels(runs, others)
        baseline = arms[runs["arm"] == comparison.baseline].iloc[0]
        runs = runs.assign(arm=arms)
        comparison = replace(comparison, runs=runs, by=others, baseline=baseline)
    return comparison, Candidates(comparison.runs, key, comparison.metric)


def _draw_scores(
    axis: Axes, comparison: Comparison, candidates: Candidates, name: str
) -> list[str]:
    """Draw the metric of every arm; return where each arm is best."""
    runs = candidates.runs
    descriptions = []
    for arm in arms_in(comparison, runs):
        part = replace(candidates, runs=rows_of_arm(runs, arm))
        descriptions += _draw_score_line(axis, comparison, arm, part)
    axis.set(title=one_setting_per_line(name), ylabel=metric_lines(candidates.metric))
    limit_accuracy_axis(axis.yaxis, candidates.metric)
    return descriptions


def _draw_score_line(
    axis: Axes, comparison: Comparison, arm: str, candidates: Candidates
) -> list[str]:
    """Draw mean and interval at every value; describe the best, if any run finished."""
    key = candidates.key
    metric = candidates.metric
    runs = candidates.runs
    values = np.sort(runs[key].unique())
    scores = []
    for value in values:
        finished = finished_runs(runs[runs[key] == value], metric)
        scores.append(finished[metric].to_numpy(float))

    means = np.full(len(values), np.nan)
    bounds = np.empty((len(values), 2))
    for place, score in enumerate(scores):
        bounds[place] = t_interval(score, comparison.confidence)
        if len(score):
            means[place] = score.mean()
    draw_arm_band(axis, comparison, arm, values, bounds[:, 0], bounds[:, 1])
    axis.plot(values, means, **_line_options(comparison, arm))

    if not np.isfinite(means).any():
        return []
    best = np.nanargmax(means) if higher_is_better(metric) else np.nanargmin(means)
    value = setting_text(float(values[best]))
    return [f"{arm} is best at {key} {value} with {number(means[best])}"]


def _draw_shares(axis: Axes, comparison: Comparison, candidates: Candidates) -> None:
    """Draw the share of runs that diverged, of every arm."""
    runs = candidates.runs
    for arm in arms_in(comparison, runs):
        part = rows_of_arm(runs, arm)
        diverged = part["status"] == "diverged"
        shares = diverged.groupby(part[candidates.key]).mean()
        axis.plot(shares.index, shares, **_line_options(comparison, arm))
    axis.set(ylabel="share diverged", ylim=(-0.05, 1.05))


def _line_options(comparison: Comparison, arm: str) -> dict[str, Any]:
    return {
        **arm_style(comparison, arm),
        "marker": arm_marker(comparison, arm),
        "markersize": 4,
        "linewidth": 1.5,
        "label": arm,
    }


def _sensitivity_caption(
    comparison: Comparison, runs: pd.DataFrame, key: str, diverged: bool
) -> str:
    caption = f"{band_caption(comparison)} of the runs that finished"
    caption += ", and the share that diverged." if diverged else "; none diverged."
    present = arms_in(comparison, runs)
    lacking = [arm for arm in comparison.arms if arm not in present]
    if len(lacking) == 1:
        caption += f" {lacking[0]} has no {key}."
    elif lacking:
        caption += f" {' and '.join(lacking)} have no {key}."
    return caption + groups_note(runs, MOST_COLUMNS)


def draw_heatmap(
    comparison: Comparison, keys: tuple[str, str] | None = None
) -> Drawing | None:
    """Draw the mean metric over two hyperparameters.

    There is one panel per arm and value of every other setting that varies.

    Args:
        comparison: The comparison whose runs are drawn.
        keys: The two settings; by default the first two that are numbers and vary.
            None is returned if there are fewer.
    """
    pair = list(keys or numeric_settings(comparison, 2)[:2])
    if len(pair) < 2:
        return None
    metric = comparison.metric
    runs = finished_runs(comparison.runs, metric)
    every = _heatmap_panels(comparison, runs, pair)
    shown = every[:MOST_PANELS]
    limits = (runs[metric].min(), runs[metric].max())

    figure, axes = make_panels(len(shown), height=2.9)
    descriptions = []
    for axis, (arm, group, part) in zip(axes, shown, strict=True):
        table = _heatmap_table(part, pair, metric)
        _draw_cells(axis, table, limits)
        names = list(filter(None, [arm, group]))
        title = one_setting_per_line("\n".join(names))
        axis.set(title=title, xlabel=pair[0], ylabel=pair[1])
        best = np.nanmax if comparison.higher_is_better else np.nanmin
        mean = number(best(table.to_numpy(float)))
        descriptions.append(f"{' at '.join(names)}: best mean {mean}")

    caption = "Mean over seeds of the runs that finished; empty if none did."
    caption += first_of_note(MOST_PANELS, len(every), "panels")
    title = f"{metric} over {pair[0]} and {pair[1]}"
    return Drawing("heatmap", title, caption, "; ".join(descriptions), figure)


def _heatmap_panels(
    comparison: Comparison, runs: pd.DataFrame, pair: list[str]
) -> list[tuple[str, str, pd.DataFrame]]:
    """Arm, group and runs of every panel.

    Runs of one panel differ in nothing but the two settings and the seed.
    """
    by = [key for key in comparison.by if key not in pair]
    within = [key for key in comparison.within if key not in pair]
    arms = pd.Series("all arms", index=runs.index)
    if by:
        arms = arm_labels(runs, by)
    groups = group_labels(runs, within)

    names = sorted(
        sorted_labels(list(arms)), key=lambda arm: arm != comparison.baseline
    )
    panels = []
    for arm in names:
        for group in sorted_labels(list(groups)):
            part = runs[(arms == arm) & (groups == group)]
            if len(part):
                panels.append((arm, group, part))
    return panels


def _heatmap_table(runs: pd.DataFrame, pair: list[str], metric: str) -> pd.DataFrame:
    """The mean metric, with a column per value of the first setting."""
    for key in pair:
        runs = runs.assign(**{key: runs[key].map(setting_text)})
    table = runs.pivot_table(
        index=pair[1], columns=pair[0], values=metric, aggfunc="mean"
    )
    return table.reindex(
        index=sorted_labels(list(table.index)),
        columns=sorted_labels(list(table.columns)),
    )


def _draw_cells(axis: Axes, table: pd.DataFrame, limits: tuple[float, float]) -> None:
    low, high = limits
    values = table.to_numpy(float)
    axis.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    axis.set_xticks(range(len(table.columns)), table.columns)
    axis.set_yticks(range(len(table.index)), table.index)
    axis.grid(visible=False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value < (low + high) / 2
            axis.text(
                column,
                row,
                number(value),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if dark else "black",
            )
