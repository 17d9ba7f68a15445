"""Figures of arms over several tasks: critical differences and profiles."""

import numpy as np

from normlab.compare.comparison import Comparison
from normlab.compare.ranks import nemenyi_p, performance_profile, stratified_draws
from normlab.compare.sentences import percent
from normlab.compare.several_tasks import SeveralTasks
from normlab.report.axes import (
    add_legend,
    arm_style,
    draw_band,
    make_panels,
)
from normlab.report.drawing import INK, Drawing, figure_style

THRESHOLDS = np.linspace(0, 1, 101)


def draw_critical_differences(
    several: SeveralTasks, comparison: Comparison
) -> Drawing | None:
    """Draw the mean ranks, with bars over arms that are not told apart.

    None is returned below the number of tasks that a verdict needs, and for two arms.
    """
    ranks = several.ranking.mean_ranks
    if len(several.tasks) < several.needed or len(ranks) < 3:
        return None
    import scikit_posthocs

    with figure_style():
        height = 1.2 + 0.22 * len(ranks)
        figure, (axis,) = make_panels(1, width=6.4, height=height)
        scikit_posthocs.critical_difference_diagram(
            ranks,
            nemenyi_p(several.ranking.ranks),
            alpha=comparison.level,
            ax=axis,
            label_fmt_left="{label} ({rank:.2f})",
            label_fmt_right="({rank:.2f}) {label}",
            color_palette=dict.fromkeys(ranks.index, INK),
            elbow_props={"linewidth": 0.8},
            crossbar_props={"color": INK, "linewidth": 3},
        )
        axis.grid(visible=False)
    order = ranks.sort_values()
    words = [f"{arm} {rank:.2f}" for arm, rank in order.items()]
    caption = (
        f"Mean rank over {len(several.tasks)} tasks; 1 is the best. A bar joins arms "
        f"that Nemenyi's test does not tell apart at the level {comparison.level:g}."
    )
    title = "Critical differences of ranks"
    description = f"Mean ranks: {', '.join(words)}"
    return Drawing("critical_differences", title, caption, description, figure)


def draw_profiles(several: SeveralTasks, comparison: Comparison) -> Drawing:
    """Draw the share of runs whose normalized score is above each threshold."""
    with figure_style():
        figure, (axis,) = make_panels(1, width=5.0, height=3.0)
        for arm, tasks in several.scores.items():
            style = arm_style(comparison, arm)
            values = performance_profile(np.concatenate(tasks), THRESHOLDS)
            axis.plot(THRESHOLDS, values, label=arm, linewidth=1.5, **style)
            drawn = performance_profile(stratified_draws(tasks), THRESHOLDS)
            tail = (1 - comparison.confidence) / 2
            low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
            draw_band(axis, THRESHOLDS, low, high, style["color"])
        axis.set(
            xlabel="normalized score",
            ylabel="share of runs above",
            xlim=(0, 1),
            ylim=(-0.02, 1.02),
        )
        add_legend(figure, axis)
    words = []
    for row in several.arms.to_dict("records"):
        words.append(f"{row['arm']} has the interquartile mean {row['iqm']:.2f}")
    caption = (
        f"Performance profile over {len(several.tasks)} tasks, with the pointwise "
        f"{percent(comparison.confidence)} band of the stratified bootstrap. In every "
        "task 0 is the worst finished run and 1 the best; diverged and failed runs "
        "have 0."
    )
    title = "Share of runs above a normalized score"
    description = "; ".join(words)
    return Drawing("performance_profile", title, caption, description, figure)
