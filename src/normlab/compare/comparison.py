"""Runs to an answer: which runs are compared with which, what came out, and what a reader must know."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from normlab import metrics
from normlab.compare.contrasts import (
    contrasts_of,
    finished_runs,
    summaries_of,
    with_verdicts,
)
from normlab.compare.fairness import Check, fairness_checks
from normlab.compare.runs import check_key, metric_columns, setting_columns
from normlab.compare.selection import edge_warnings, keep_best
from normlab.compare.settings import (
    arm_labels,
    check_keys,
    check_one_run_each,
    direction_warnings,
    distinguishing_settings,
    group_labels,
    only_repeats,
    origin_warnings,
    setting_text,
    sorted_labels,
)


@dataclass(frozen=True)
class Candidates:
    """Runs at all values of a setting, of which a comparison uses only some.

    Attributes:
        runs: with their arm in `arm`.
        key: the setting.
        metric: by which its values were judged.
    """

    runs: pd.DataFrame
    key: str
    metric: str


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what came out.

    Attributes:
        runs: every run, with its arm in `arm` and its group in `where`.
        by: settings that make an arm.
        within: settings that make a group; arms are compared within groups only.
        metric: what is compared.
        baseline: the arm that the others are compared to.
        margin: differences below it do not matter; None if not stated.
        level: probability of a false alarm over all contrasts.
        summaries: a row an arm and group.
        contrasts: a row an arm and group, baseline left out, with its sentence.
        warnings: what a reader must know before believing any of it.
        checks: whether the arms differ in nothing but what is compared.
        tried: the grid behind `select`, if there was one.
    """

    runs: pd.DataFrame
    by: list[str]
    within: list[str]
    metric: str
    baseline: str
    margin: float | None
    level: float
    summaries: pd.DataFrame
    contrasts: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    candidates: Candidates | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        """The arms, the baseline first."""
        arms = sorted_labels(list(self.runs["arm"]))
        return sorted(arms, key=lambda arm: arm != self.baseline)

    @property
    def higher_is_better(self) -> bool:
        """True if a higher metric is better."""
        return metrics.higher_is_better(self.metric)

    @property
    def confidence(self) -> float:
        """Of the intervals: .95 for a level of .05."""
        return 1 - self.level


def compare(
    runs: pd.DataFrame,
    by: str | Sequence[str] = "norm",
    metric: str = "test/accuracy",
    baseline: str | None = None,
    within: str | Sequence[str] | None = None,
    arms: str | Sequence[str] | None = None,
    margin: float | str | None = None,
    level: float = 0.05,
    select: str | None = None,
) -> Comparison:
    """Summarize every arm and compare it to the baseline.

    Args:
        runs: from `load_runs`.
        by: the settings whose values are the arms.
        metric: a column such as `test/accuracy`.
        baseline: an arm; by default `none`, or else the first whose name begins with it, or else the first of all.
        within: settings whose values are compared separately; by default all that vary besides arm and seed.
        arms: the planned contrasts, each against the baseline; by default all arms. Holm corrects for their number.
        margin: differences below it do not matter; a number, or `5%` of the baseline's mean.
        level: probability of a false alarm over all contrasts.
        select: a setting of which every arm keeps its best value, by the mean of the validation metric.

    Raises:
        ValueError: an unknown key, metric or arm; arms with one run each; runs that differ in more than was named.
    """
    if runs.empty:
        raise ValueError("there must be runs to compare, and the table has none")
    by, within, arms = (_listed(names) for names in (by, within, arms))
    _check_compared(runs, by, select)
    _check_metric(runs, metric)
    if not 0 < level < 1:
        raise ValueError(f"--level must be between 0 and 1, got {level}")
    by, within = _keys(runs, by, within, select)
    runs = runs.assign(arm=arm_labels(runs, by)).reset_index(
        drop=True
    )  # joined frames count from 0 several times
    baseline = _baseline(runs, baseline)
    contrasted = _planned(runs, arms, baseline)
    warnings: list[str] = []
    tried = Candidates(runs, select, metric) if select else None
    if select:
        runs, told = keep_best(runs, select, within, metric)
        warnings += told
    runs = runs.assign(where=group_labels(runs, within))
    groups = list(_groups(runs))
    for where, group in groups:
        check_one_run_each(group, ["arm"], by, f"{where}: " if where else "")
    summaries = pd.DataFrame(
        [
            row
            for _, group in groups
            for row in summaries_of(group, metric, 1 - level, baseline)
        ]
    )
    if summaries["n"].max() < 2:
        _refuse_single_runs(runs, metric, within, summaries)
    margin_value = _margin(margin, summaries, baseline)
    if margin is not None and margin_value is None:
        warnings.append(
            f"The margin of {margin} is left out: it is a share of {baseline}, which has no {metric}."
        )
    found = [
        row
        for where, group in groups
        for row in contrasts_of(
            group, metric, baseline, contrasted, level, margin_value
        )
    ]
    contrasts = with_verdicts(pd.DataFrame(found), metric, level, margin_value)
    checks = fairness_checks(groups, [*by, *([select] if select else [])], baseline)
    warnings += [check.message for check in checks if check.warns]
    warnings += _all_warnings(runs, groups, by, within, metric, baseline, contrasts)
    warnings = list(dict.fromkeys(warnings))
    return Comparison(
        runs,
        by,
        within,
        metric,
        baseline,
        margin_value,
        level,
        summaries,
        contrasts,
        warnings,
        tried,
        checks,
    )


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    return (
        [names]
        if isinstance(names, str)
        else None
        if names is None
        else list(dict.fromkeys(names))
    )


def _check_compared(runs: pd.DataFrame, by: list[str], select: str | None) -> None:
    if not by:
        raise ValueError("--by must name a setting, such as norm; it names none")
    named = [("--by", key) for key in by] + ([("--select", select)] if select else [])
    check_keys(runs, [key for _, key in named])
    for option, key in named:
        if only_repeats(key):
            raise ValueError(
                f"{option} must name a setting that changes what is trained; {key} only repeats it"
            )
    if select in by:
        raise ValueError(
            f"--select must name a setting besides those that make the arms, and {select} is in --by"
        )


def _check_metric(runs: pd.DataFrame, metric: str) -> None:
    if not (runs["status"] == "finished").any():  # such runs need not have any metric
        raise ValueError(_nothing_finished(runs, metric))
    check_key(metric, metric_columns(runs), "metric")


def _nothing_finished(runs: pd.DataFrame, metric: str) -> str:
    counts = [
        f"{count} {status}" for status, count in runs["status"].value_counts().items()
    ]
    counts += [] if (runs["status"] == "finished").any() else ["none finished"]
    return f"no finished run has {metric}: {', '.join(counts)}; look at the reasons in result.json"


def _keys(
    runs: pd.DataFrame, by: list[str], within: Sequence[str] | None, select: str | None
) -> tuple[list[str], list[str]]:
    if within is None:
        found = [key for key in distinguishing_settings(runs, by) if key != select]
        own = [key for key in found if any(key.startswith(f"{name}.") for name in by)]
        return by + own, [
            key for key in found if key not in own
        ]  # norm.momentum=0.1 and 0.01 are two arms of norm
    kept = [key for key in check_keys(runs, within) if key not in by and key != select]
    return by, [key for key in kept if runs[key].nunique(dropna=False) > 1]


def _baseline(runs: pd.DataFrame, wanted: str | None) -> str:
    arms = sorted_labels(list(runs["arm"]))
    if wanted is None:
        return ([arm for arm in arms if arm.split(", ")[0] == "none"] or arms)[0]
    return check_key(setting_text(wanted), arms, "arm")


def _planned(
    runs: pd.DataFrame, wanted: Sequence[str] | None, baseline: str
) -> list[str]:
    arms = sorted_labels(list(runs["arm"]))
    others = [arm for arm in arms if arm != baseline]
    if wanted is None:
        return others
    planned = dict.fromkeys(check_key(setting_text(arm), arms, "arm") for arm in wanted)
    planned.pop(baseline, None)
    if others and not planned:
        got = ", ".join(map(setting_text, wanted))
        raise ValueError(
            f"--arms must name arms beside the baseline {baseline}, such as {others[0]}; got {got}"
        )
    return list(planned)


def _groups(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    parts = dict(list(runs.groupby("where", sort=False)))
    for where in sorted(parts, key=lambda text: sorted_labels(list(parts)).index(text)):
        yield where, parts[where]


def _refuse_single_runs(
    runs: pd.DataFrame, metric: str, within: list[str], summaries: pd.DataFrame
) -> None:
    if summaries["n"].max() == 0:
        raise ValueError(_nothing_finished(runs, metric))
    if repeated := [key for key in within if only_repeats(key)]:
        raise ValueError(
            f"every arm must have at least two runs to compare: leave {repeated[0]} out of --within"
        )
    seeds = ", ".join(sorted_labels(list(runs["seed"].map(setting_text)))[:5])
    raise ValueError(
        f"every arm must have at least two runs, each has one (seed {seeds}): one run says nothing about the spread; "
        "train more seeds, such as -m seed=0,1,2,3,4,5,6,7,8,9"
    )


def _margin(
    margin: float | str | None, summaries: pd.DataFrame, baseline: str
) -> float | None:
    if margin is None:
        return None
    text = str(margin)
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(
            f"--margin must be a number above 0 such as 0.003, or a share such as 5%, got {margin}"
        )
    if text.endswith("%"):
        value = (
            value
            / 100
            * abs(summaries.loc[summaries["arm"] == baseline, "mean"].mean())
        )
    return None if math.isnan(value) else value


def _all_warnings(
    runs: pd.DataFrame,
    groups: list[tuple[str, pd.DataFrame]],
    by: list[str],
    within: list[str],
    metric: str,
    baseline: str,
    contrasts: pd.DataFrame,
) -> list[str]:
    told = direction_warnings(metric)
    if runs["arm"].nunique() == 1:
        told.append(
            f"All runs are of one arm, {runs['arm'].iloc[0]}: there is nothing to compare it to."
        )
    finished = runs[runs["status"] == "finished"]
    lacking = finished[~finished.index.isin(finished_runs(runs, metric).index)]
    if len(lacking):
        told.append(
            f"{metric} is missing in {len(lacking)} of {len(finished)} runs that finished, and they are left out; "
            f"the first is {lacking['folder'].iloc[0]}. rerun=true trains a run anew."
        )
    for where, group in groups:
        if not (group["arm"] == baseline).any():
            told.append(
                f"{f'At {where}: t' if where else 'T'}here is no run of the baseline {baseline}."
            )
    for row in contrasts.to_dict("records"):
        if row["design"] == "independent" and min(row["n"], row["n_baseline"]) > 0:
            at = f" at {row['where']}" if row["where"] else ""
            told.append(
                f"{row['arm']} and {row['baseline']} share too few seeds{at} ({_seeds(groups, row, 'arm')} against "
                f"{_seeds(groups, row, 'baseline')}): compared as independent runs. The same seeds would make pairs."
            )
    if any(row["design"] == "folds" for row in contrasts.to_dict("records")):
        told.append(
            "Folds share training data and are not independent: intervals and p-values are corrected for it "
            "(Nadeau and Bengio, 2003)."
        )
    return told + edge_warnings(runs, by, within, metric) + origin_warnings(runs)


def _seeds(groups: list[tuple[str, pd.DataFrame]], row: dict, of: str) -> str:
    group = dict(groups)[row["where"]]
    seeds = sorted_labels(
        list(group.loc[group["arm"] == row[of], "seed"].map(setting_text))
    )
    return ", ".join(seeds if len(seeds) <= 4 else [*seeds[:3], "…", seeds[-1]])


def shared_settings(runs: pd.DataFrame) -> dict[str, str]:
    """Settings that all runs have in common."""
    return {
        key: setting_text(runs[key].iloc[0])
        for key in setting_columns(runs)
        if runs[key].nunique(dropna=False) == 1
    }
