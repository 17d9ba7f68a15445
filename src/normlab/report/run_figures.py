"""Figures of results: arms, pairs, learning curves, sensitivity to a hyperparameter."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from normlab.compare.comparison import Candidates, Comparison
from normlab.compare.contrasts import finished_runs
from normlab.compare.intervals import t_interval
from normlab.compare.runs import read_curves, without_curves
from normlab.compare.selection import LEARNING_RATES, keep_best, validation_metric
from normlab.compare.sentences import number, percent
from normlab.compare.settings import (
    arm_labels,
    group_labels,
    pairing_keys,
    setting_text,
    sorted_labels,
)
from normlab.metrics import higher_is_better
from normlab.report.figures import (
    COLOURS,
    INK,
    MOST_PANELS,
    Drawing,
    band,
    band_words,
    carried,
    carried_words,
    dot,
    legend,
    lines_of,
    logarithmic,
    look,
    mark,
    middle_and_band,
    panels,
    title_of,
    whole_epochs,
    within_range,
)

MOST_COLUMNS = 3  # of a figure whose panels have others below them
FALLING = {"color": COLOURS[-1], "linestyle": "--", "alpha": 0.9}


def focus(comparison: Comparison) -> tuple[pd.DataFrame, str]:
    """Runs for figures of one setting an arm: at its best learning rate where several were tried; and a note on it."""
    runs = comparison.runs
    keys = [
        key for key in comparison.within if key.rpartition(".")[2] in LEARNING_RATES
    ]
    if not keys:
        return runs, ""
    others = [key for key in comparison.within if key != keys[0]]
    runs, _ = keep_best(runs, keys[0], others, comparison.metric)
    note = f" Every arm at its best {keys[0]}, by {validation_metric(runs, comparison.metric)}."
    return runs.assign(where=group_labels(runs, others)), note


def groups(
    runs: pd.DataFrame, most: int = MOST_PANELS
) -> list[tuple[str, pd.DataFrame]]:
    """The first groups of like runs, as many as there are panels."""
    return [
        (where, runs[runs["where"] == where])
        for where in sorted_labels(list(runs["where"]))[:most]
    ]


def left_out(runs: pd.DataFrame, most: int = MOST_PANELS) -> str:
    """A note where there are more groups than panels."""
    count = runs["where"].nunique()
    return f" The first {most} of {count} groups." if count > most else ""


def learning_curves(comparison: Comparison) -> Drawing | None:
    """The validation metric by epoch, mean and interval over seeds; diverged runs as thin lines."""
    metric = validation_metric(comparison.runs, comparison.metric)
    runs, note = focus(comparison)
    runs = runs[runs["status"] != "failed"]
    curves = read_curves(runs, [metric])
    curves = curves[~curves["index"].isin(without_curves(runs, curves, metric).index)]
    curves = curves[np.isfinite(curves[metric].astype(float))].join(
        runs[["where", "arm", "status"]], on="index"
    )
    if curves.empty:
        return None
    parts = curves.groupby(["status", "where", "arm"], sort=False)
    whole = pd.concat(
        [carried(part) if key[0] == "finished" else part for key, part in parts]
    )
    shown = groups(runs)
    figure, axes = panels(len(shown))
    told = []
    for axis, (where, group) in zip(axes, shown, strict=True):
        for arm in [arm for arm in comparison.arms if (group["arm"] == arm).any()]:
            told.append(
                _curve(
                    axis,
                    comparison,
                    arm,
                    group[group["arm"] == arm],
                    whole,
                    metric,
                    where,
                )
            )
        axis.set(xlabel="epoch", ylabel=metric, title=title_of(where))
        within_range(axis.yaxis, metric)
        whole_epochs(axis)
    legend(figure, axes[0])
    caption = f"{band_words(comparison)}; diverged runs as thin lines.{carried_words(len(curves), len(whole))}{note}"
    return Drawing(
        "learning_curves",
        "Learning curves",
        caption + left_out(runs),
        "; ".join(filter(None, told)),
        figure,
    )


def _curve(
    axis: Axes,
    comparison: Comparison,
    arm: str,
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    metric: str,
    where: str,
) -> str:
    part = curves[curves["index"].isin(runs.index)]
    table = part.pivot_table(
        index="index", columns="epoch", values=metric, aggfunc="last"
    )
    finished = table[table.index.isin(runs.index[runs["status"] == "finished"])]
    for _, line in table.drop(finished.index).iterrows():
        axis.plot(
            table.columns,
            line,
            linewidth=0.7,
            alpha=0.6,
            **look(comparison, arm),
            **dot(line.dropna(), "."),
        )
    if finished.empty:
        return ""
    finished = finished.dropna(
        axis=1, how="all"
    )  # a diverged run may have gone on for longer
    mean, low, high = middle_and_band(finished.to_numpy(float), comparison.confidence)
    band(axis, comparison, arm, finished.columns, low, high)
    options = look(comparison, arm) | dot(finished.columns, mark(comparison, arm))
    axis.plot(
        finished.columns,
        mean,
        linewidth=1.8,
        label=f"{arm} (n = {len(finished)})",
        **options,
    )
    at = f" at {where}" if where else ""
    return f"{arm}{at}: {metric} goes from {number(mean[0])} to {number(mean[-1])}"


def arms(comparison: Comparison) -> Drawing | None:
    """Every run as a point, mean and interval of every arm."""
    shown = groups(comparison.runs)
    most = max(group["arm"].nunique() for _, group in shown)
    summaries = comparison.summaries.set_index(["where", "arm"]).to_dict("index")
    figure, axes = panels(len(shown), height=0.9 + 0.42 * most)
    for axis, (where, group) in zip(axes, shown, strict=True):
        names = [arm for arm in comparison.arms if (group["arm"] == arm).any()]
        for place, arm in enumerate(names):
            values = finished_runs(group[group["arm"] == arm], comparison.metric)[
                comparison.metric
            ].to_numpy(float)
            _strip(axis, comparison, arm, place, values, summaries[where, arm])
        axis.set_yticks(range(len(names)), [_with_losses(group, arm) for arm in names])
        axis.set(
            xlabel=comparison.metric,
            title=title_of(where),
            ylim=(len(names) - 0.4, -0.6),
        )
        axis.grid(axis="y", visible=False)
        within_range(axis.xaxis, comparison.metric)
        axis.xaxis.set_major_locator(MaxNLocator(5))
    told = [
        f"{row['arm']}{' at ' + row['where'] if row['where'] else ''} {number(row['mean'])}"
        for row in comparison.summaries.to_dict("records")
    ]
    folds = (
        (comparison.contrasts.get("design") == "folds").any()
        if len(comparison.contrasts)
        else False
    )
    over = "folds, allowing for the training data that they share" if folds else "seeds"
    caption = f"Every run as a point; below them mean and {percent(comparison.confidence)} t interval over {over}."
    description = f"Mean {comparison.metric}: {', '.join(told)}"
    return Drawing(
        "arms",
        f"{comparison.metric} by arm",
        caption + left_out(comparison.runs),
        description,
        figure,
    )


def _strip(
    axis: Axes,
    comparison: Comparison,
    arm: str,
    place: int,
    values: np.ndarray,
    summary: dict,
) -> None:
    colour = look(comparison, arm)["color"]
    spread = (
        np.linspace(-0.17, 0.17, len(values))
        if len(values) > 1
        else np.zeros(len(values))
    )
    jitter = np.random.default_rng(0).permutation(spread) - 0.08
    axis.scatter(
        values,
        place + jitter,
        s=14,
        color=colour,
        alpha=0.7,
        linewidth=0,
        marker=mark(comparison, arm),
    )
    if summary["n"] > 1:
        bounds = [summary["low"], summary["high"]]
        axis.plot(
            bounds, [place + 0.27] * 2, color=colour, linewidth=2, solid_capstyle="butt"
        )
        axis.plot(
            summary["mean"],
            place + 0.27,
            mark(comparison, arm),
            color=colour,
            markersize=6,
        )


def response(comparison: Comparison) -> Drawing | None:
    """The metric against what is compared where that is a number, such as the samples that statistics are over."""
    key = comparison.by[0]
    if (
        len(comparison.by) > 1
        or len(comparison.arms) < 3
        or not pd.api.types.is_numeric_dtype(comparison.runs[key])
    ):
        return None
    shown = groups(comparison.runs)
    figure, axes = panels(len(shown))
    told = []
    for axis, (where, group) in zip(axes, shown, strict=True):
        rows = comparison.summaries[comparison.summaries["where"] == where]
        rows = rows.assign(value=rows["arm"].astype(float)).sort_values("value")
        runs = finished_runs(group, comparison.metric)
        axis.scatter(
            runs[key],
            runs[comparison.metric],
            s=10,
            color=COLOURS[0],
            alpha=0.5,
            linewidth=0,
        )
        axis.fill_between(
            rows["value"],
            rows["low"],
            rows["high"],
            color=COLOURS[0],
            alpha=0.18,
            linewidth=0,
        )
        axis.plot(rows["value"], rows["mean"], "o-", color=COLOURS[0], markersize=4)
        if rows["value"].min() > 0 and rows["value"].max() / rows["value"].min() >= 10:
            axis.set_xscale("log")
            axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticks(rows["value"], rows["arm"])
        axis.set(xlabel=key, ylabel=comparison.metric, title=title_of(where))
        within_range(axis.yaxis, comparison.metric)
        told += [
            f"{row['arm']}: {number(row['mean'])}" for row in rows.to_dict("records")
        ]
    caption = (
        f"Every run as a point; mean and {percent(comparison.confidence)} t interval."
        + left_out(comparison.runs)
    )
    return Drawing(
        "response",
        f"{comparison.metric} against {key}",
        caption,
        "; ".join(told),
        figure,
    )


def _with_losses(group: pd.DataFrame, arm: str) -> str:
    statuses = group.loc[group["arm"] == arm, "status"]
    losses = [
        f"{(statuses == status).sum()} {status}"
        for status in ("diverged", "failed")
        if (statuses == status).any()
    ]
    return "\n".join([lines_of(arm), *losses])


def pairs(comparison: Comparison) -> Drawing | None:
    """A line a seed from the baseline to the arm."""
    rows = [
        row
        for row in comparison.contrasts.to_dict("records")
        if row["design"] != "independent"
    ][:MOST_PANELS]
    if not rows:
        return None
    figure, axes = panels(len(rows), width=2.4)
    told = []
    for axis, row in zip(axes, rows, strict=True):
        group = finished_runs(
            comparison.runs[comparison.runs["where"] == row["where"]], comparison.metric
        )
        table = group.pivot_table(
            index=pairing_keys(group), columns="arm", values=comparison.metric
        )
        table = table[[row["baseline"], row["arm"]]].dropna()
        for values in table.to_numpy(float):
            axis.plot(
                [0, 1],
                values,
                marker="o",
                markersize=3,
                linewidth=1,
                **_slope(comparison, row["arm"], *values),
            )
        axis.plot(
            [0, 1],
            table.mean().to_numpy(float),
            "D-",
            color=INK,
            markersize=5,
            linewidth=2,
        )
        axis.set_xticks([0, 1], [lines_of(row["baseline"]), lines_of(row["arm"])])
        correlation = (
            ""
            if np.isnan(row["correlation"])
            else f"r = {row['correlation']:.2f}".replace("-", "−")
        )
        title = "\n".join(filter(None, [title_of(row["where"]), correlation]))
        axis.set(xlim=(-0.3, 1.3), title=title, ylabel=comparison.metric)
        axis.grid(axis="x", visible=False)
        up = int((table[row["arm"]] > table[row["baseline"]]).sum())
        told.append(
            f"{row['arm']} is above {row['baseline']} in {up} of {len(table)} pairs"
        )
    caption = (
        "A line is a seed (and fold): coloured where it rises, grey and dashed where it falls, light where both are "
        "equal. The dark line joins the means; r is the correlation over them."
    )
    more = len(comparison.contrasts) > MOST_PANELS
    caption += (
        f" The first {len(rows)} of {len(comparison.contrasts)} contrasts."
        if more
        else ""
    )
    return Drawing(
        "pairs", "The same seed in both arms", caption, "; ".join(told), figure
    )


def _slope(comparison: Comparison, arm: str, before: float, after: float) -> dict:
    if before == after:
        return {"color": COLOURS[-1], "alpha": 0.35}
    return (
        {"color": look(comparison, arm)["color"], "alpha": 0.8}
        if after > before
        else FALLING
    )


def numeric_keys(comparison: Comparison, least: int) -> list[str]:
    """Settings of groups and arms that are numbers, with at least so many values; learning rates first."""
    runs = comparison.runs
    keys = [
        key
        for key in [*comparison.within, *comparison.by]
        if pd.api.types.is_numeric_dtype(runs[key]) and runs[key].nunique() >= least
    ]
    return sorted(keys, key=lambda key: key.rpartition(".")[2] not in LEARNING_RATES)


def sensitivity(comparison: Comparison) -> Drawing | None:
    """The metric and the share of diverged runs against a hyperparameter, the learning rate if it varies."""
    comparison, tried = _swept(comparison)
    if tried is None or not pd.api.types.is_numeric_dtype(tried.runs[tried.key]):
        return None
    key, runs = (
        tried.key,
        tried.runs[(tried.runs["status"] != "failed") & tried.runs[tried.key].notna()],
    )
    others = [other for other in comparison.within if other != key]
    runs = runs.assign(where=group_labels(runs, others))
    shown = groups(runs, MOST_COLUMNS)
    lost = (runs["status"] == "diverged").any()
    rows = 2 if lost else 1
    figure, axes = panels(rows * len(shown), rows=rows, height=2.3 if lost else 2.7)
    told = []
    for place, (title, group) in enumerate(shown):
        column = axes[place :: len(shown)]
        for arm in [arm for arm in comparison.arms if (group["arm"] == arm).any()]:
            part = Candidates(group[group["arm"] == arm], key, tried.metric)
            told.append(_sensitivity_line(column[0], comparison, arm, part))
            if lost:
                _divergence_line(column[1], comparison, arm, part)
        if (group[key] > 0).all() and group[key].max() / group[key].min() >= 10:
            for axis in column:
                logarithmic(axis.xaxis)
        column[0].set(title=title_of(title), ylabel=tried.metric)
        within_range(column[0].yaxis, tried.metric)
        column[-1].set_xlabel(key)
        if lost:
            column[0].tick_params(labelbottom=False)
            column[1].set(ylabel="share diverged", ylim=(-0.05, 1.05))
    legend(figure, axes[0])
    caption = f"{band_words(comparison)} of the runs that finished"
    caption += ", and the share that diverged." if lost else "; none diverged."
    lacking = [arm for arm in comparison.arms if not (runs["arm"] == arm).any()]
    caption += (
        f" {' and '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no {key}."
        if lacking
        else ""
    )
    caption += left_out(runs, MOST_COLUMNS)
    title = f"{tried.metric}{' and divergence' if lost else ''} against {key}"
    return Drawing("sensitivity", title, caption, "; ".join(filter(None, told)), figure)


def _swept(comparison: Comparison) -> tuple[Comparison, Candidates | None]:
    """The runs along a setting; along a learning rate that is part of the arms, the arms are those of what is left."""
    if comparison.candidates:
        return comparison, comparison.candidates
    rates = [
        key
        for key in comparison.by
        if key.rpartition(".")[2] in LEARNING_RATES and len(comparison.by) > 1
    ]
    keys = [
        key
        for key in numeric_keys(comparison, 3)
        if key in [*comparison.within, *rates]
    ]
    if not keys:
        return comparison, None
    if keys[0] in rates:
        others, runs = [key for key in comparison.by if key != keys[0]], comparison.runs
        arms = arm_labels(runs, others)
        baseline = arms[runs["arm"] == comparison.baseline].iloc[0]
        comparison = replace(
            comparison, runs=runs.assign(arm=arms), by=others, baseline=baseline
        )
    return comparison, Candidates(comparison.runs, keys[0], comparison.metric)


def _line(comparison: Comparison, arm: str) -> dict:
    return look(comparison, arm) | {
        "marker": mark(comparison, arm),
        "markersize": 4,
        "linewidth": 1.5,
        "label": arm,
    }


def _sensitivity_line(
    axis: Axes, comparison: Comparison, arm: str, tried: Candidates
) -> str:
    key, metric = tried.key, tried.metric
    values = np.sort(tried.runs[key].unique())
    scores = [
        finished_runs(tried.runs[tried.runs[key] == value], metric)[metric].to_numpy(
            float
        )
        for value in values
    ]
    means = np.array([score.mean() if len(score) else np.nan for score in scores])
    low, high = np.array(
        [t_interval(score, comparison.confidence) for score in scores]
    ).T
    band(axis, comparison, arm, values, low, high)
    axis.plot(values, means, **_line(comparison, arm))
    if not np.isfinite(means).any():
        return ""
    best = int(np.nanargmax(means) if higher_is_better(metric) else np.nanargmin(means))
    return f"{arm} is best at {key} {setting_text(float(values[best]))} with {number(means[best])}"


def _divergence_line(
    axis: Axes, comparison: Comparison, arm: str, tried: Candidates
) -> None:
    shares = (tried.runs["status"] == "diverged").groupby(tried.runs[tried.key]).mean()
    axis.plot(shares.index, shares, **_line(comparison, arm))


def heatmap(
    comparison: Comparison, keys: tuple[str, str] | None = None
) -> Drawing | None:
    """The mean metric over two hyperparameters, a panel an arm and value of every other setting that varies."""
    found = list(keys or numeric_keys(comparison, 2)[:2])
    if len(found) < 2:
        return None
    runs = finished_runs(comparison.runs, comparison.metric)
    every = _heatmap_panels(comparison, runs, found)
    shown = every[:MOST_PANELS]
    figure, axes = panels(len(shown), height=2.9)
    low, high = runs[comparison.metric].min(), runs[comparison.metric].max()
    told = []
    for axis, (arm, where, part) in zip(axes, shown, strict=True):
        part = part.assign(**{key: part[key].map(setting_text) for key in found})
        table = part.pivot_table(
            index=found[1], columns=found[0], values=comparison.metric, aggfunc="mean"
        )
        table = table.reindex(
            index=sorted_labels(list(table.index)),
            columns=sorted_labels(list(table.columns)),
        )
        _cells(axis, table, low, high)
        axis.set(
            title=title_of("\n".join(filter(None, [arm, where]))),
            xlabel=found[0],
            ylabel=found[1],
        )
        best = (
            np.nanmax(table.to_numpy(float))
            if comparison.higher_is_better
            else np.nanmin(table.to_numpy(float))
        )
        told.append(
            f"{' at '.join(filter(None, [arm, where]))}: best mean {number(best)}"
        )
    caption = "Mean over seeds of the runs that finished; empty where none did."
    caption += (
        f" The first {MOST_PANELS} of {len(every)} panels."
        if len(every) > MOST_PANELS
        else ""
    )
    title = f"{comparison.metric} over {found[0]} and {found[1]}"
    return Drawing("heatmap", title, caption, "; ".join(told), figure)


def _heatmap_panels(
    comparison: Comparison, runs: pd.DataFrame, keys: list[str]
) -> list[tuple[str, str, pd.DataFrame]]:
    """Runs that differ in nothing but the two keys and the seed, with what else makes their arm and their group."""
    by = [key for key in comparison.by if key not in keys]
    within = [key for key in comparison.within if key not in keys]
    arms = arm_labels(runs, by) if by else pd.Series("all arms", index=runs.index)
    where = group_labels(runs, within)
    names = sorted(
        sorted_labels(list(arms)), key=lambda arm: arm != comparison.baseline
    )
    every = [
        (arm, place, runs[(arms == arm) & (where == place)])
        for arm in names
        for place in sorted_labels(list(where))
    ]
    return [panel for panel in every if len(panel[2])]


def _cells(axis: Axes, table: pd.DataFrame, low: float, high: float) -> None:
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


FIGURES: tuple[Callable[[Comparison], Drawing | None], ...] = (
    arms,
    response,
    pairs,
    learning_curves,
    sensitivity,
    heatmap,
)
