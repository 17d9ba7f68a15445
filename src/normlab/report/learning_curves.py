"""The figure of learning curves: the validation metric by epoch."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.curves import read_curves, without_curves
from normlab.compare.selection import validation_metric
from normlab.compare.sentences import number
from normlab.report.axes import (
    add_legend,
    arm_marker,
    arm_style,
    arms_in,
    band_caption,
    carry_forward,
    carry_forward_note,
    draw_arm_band,
    limit_accuracy_axis,
    make_panels,
    mean_and_interval,
    one_setting_per_line,
    single_point_marker,
    use_whole_epochs,
)
from normlab.report.drawing import Drawing
from normlab.report.groups import first_groups, groups_note, runs_at_best_rate


def draw_learning_curves(comparison: Comparison) -> Drawing | None:
    """Draw the validation metric by epoch.

    Mean and interval are over seeds, and diverged runs are thin lines. None if no run
    has a curve.
    """
    metric = validation_metric(comparison.runs, comparison.metric)
    runs, note = runs_at_best_rate(comparison)
    runs = runs[runs["status"] != "failed"]
    curves = _finite_curves(runs, metric)
    if curves.empty:
        return None

    # The curve of a diverged run ends where it diverged.
    parts = []
    for (status, _, _), part in curves.groupby(["status", "where", "arm"], sort=False):
        parts.append(carry_forward(part) if status == "finished" else part)
    whole = pd.concat(parts)

    groups = first_groups(runs)
    figure, axes = make_panels(len(groups))
    descriptions = []
    for axis, (name, group) in zip(axes, groups, strict=True):
        for arm in arms_in(comparison, group):
            of_arm = rows_of_arm(group, arm)
            table = _by_epoch(whole, of_arm, metric)
            finished = of_arm.index[of_arm["status"] == "finished"]
            ends = _draw_arm(axis, comparison, arm, table, finished)
            if ends is not None:
                at = f" at {name}" if name else ""
                first, last = ends
                descriptions.append(
                    f"{arm}{at}: {metric} goes from {number(first)} to {number(last)}"
                )
        axis.set(xlabel="epoch", ylabel=metric, title=one_setting_per_line(name))
        limit_accuracy_axis(axis.yaxis, metric)
        use_whole_epochs(axis)
    add_legend(figure, axes[0])

    caption = (
        f"{band_caption(comparison)}; diverged runs as thin lines."
        f"{carry_forward_note(curves, whole)}{note}{groups_note(runs)}"
    )
    return Drawing(
        "learning_curves", "Learning curves", caption, "; ".join(descriptions), figure
    )


def _finite_curves(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The finite values of a metric by epoch, with group, arm and status of the run."""
    curves = read_curves(runs, [metric])
    unread = without_curves(runs, curves, metric).index
    curves = curves[~curves["index"].isin(unread)]
    curves = curves[np.isfinite(curves[metric].astype(float))]
    return curves.join(runs[["where", "arm", "status"]], on="index")


def _by_epoch(curves: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The metric with one row per run and one column per epoch."""
    of_runs = curves[curves["index"].isin(runs.index)]
    return of_runs.pivot_table(
        index="index", columns="epoch", values=metric, aggfunc="last"
    )


def _draw_arm(
    axis: Axes,
    comparison: Comparison,
    arm: str,
    table: pd.DataFrame,
    finished_runs: pd.Index,
) -> tuple[float, float] | None:
    """Draw one arm; return the first and the last mean, or None if no run finished."""
    style = arm_style(comparison, arm)
    finished = table[table.index.isin(finished_runs)]

    for _, line in table.drop(finished.index).iterrows():
        marker = single_point_marker(line.dropna(), ".")
        axis.plot(table.columns, line, linewidth=0.7, alpha=0.6, **style, **marker)
    if finished.empty:
        return None

    # A diverged run may have trained for more epochs than any finished one.
    finished = finished.dropna(axis=1, how="all")
    epochs = finished.columns
    mean, low, high = mean_and_interval(finished.to_numpy(float), comparison.confidence)
    draw_arm_band(axis, comparison, arm, epochs, low, high)
    axis.plot(
        epochs,
        mean,
        linewidth=1.8,
        label=f"{arm} (n = {len(finished)})",
        **style,
        **single_point_marker(epochs, arm_marker(comparison, arm)),
    )
    return mean[0], mean[-1]
