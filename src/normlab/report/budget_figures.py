"""The best validation score of every arm by the number of values that were tried."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.sentences import counted, number, percent
from normlab.report.axes import (
    add_legend,
    arm_marker,
    arm_style,
    arms_in,
    draw_arm_band,
    limit_accuracy_axis,
    make_panels,
    metric_lines,
    one_setting_per_line,
)
from normlab.report.drawing import Drawing
from normlab.report.groups import first_groups, groups_note


def draw_budgets(comparison: Comparison) -> Drawing | None:
    """Draw what every arm reaches with 1, 2, ... k values tried.

    None if the comparison chose no values, or had one for each arm.
    """
    choice = comparison.choice
    curves = comparison.budgets
    if choice is None or curves.empty or curves["tried"].max() < 2:
        return None
    groups = first_groups(curves)
    figure, axes = make_panels(len(groups))
    descriptions = []
    for axis, (name, group) in zip(axes, groups, strict=True):
        descriptions += _draw_panel(axis, comparison, group)
        label = metric_lines(f"best {choice.metric}")
        axis.set(title=one_setting_per_line(name), ylabel=label)
        axis.set_xlabel(f"values of {choice.selection.key} tried")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        limit_accuracy_axis(axis.yaxis, choice.metric)
    add_legend(figure, axes[0])
    return Drawing(
        "budgets",
        f"Best {choice.metric} by the number of values tried",
        _caption(comparison, curves),
        "; ".join(descriptions),
        figure,
    )


def _draw_panel(axis: Axes, comparison: Comparison, curves: pd.DataFrame) -> list[str]:
    """Draw the curves of one group; return what each arm reaches."""
    descriptions = []
    for arm in arms_in(comparison, curves):
        part = rows_of_arm(curves, arm)
        tried = part["tried"].to_numpy()
        draw_arm_band(axis, comparison, arm, tried, part["low"], part["high"])
        axis.plot(
            tried,
            part["score"],
            **arm_style(comparison, arm),
            marker=arm_marker(comparison, arm),
            markersize=4,
            linewidth=1.5,
            label=arm,
        )
        last = part.iloc[-1]
        budget = counted(last["tried"], "value")
        descriptions.append(f"{arm} reaches {number(last['score'])} with {budget}")
    return descriptions


def _caption(comparison: Comparison, curves: pd.DataFrame) -> str:
    caption = (
        "The best score that an arm is expected to reach if this number of values is "
        "drawn at random from its grid: the mean over all such draws, with its "
        f"{percent(comparison.confidence)} t interval over seeds. Compare arms at "
        "equal numbers of values: a longer curve had more to choose from."
    )
    if (curves["trains"] < 1).any():
        caption += " Draws in which no run finished are left out."
    return caption + groups_note(curves)
