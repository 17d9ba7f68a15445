"""Metrics of claims that no `result.json` has, computed for every run.

They come from the curves and statistics that a run writes as it trains, or from its
best state, scored again. `normlab.config.claim_metrics` has their keys.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.curves import read_curves, read_layers
from normlab.compare.selection import runs_at_best
from normlab.compare.settings import arm_labels, check_keys, setting_text
from normlab.config.claim_metrics import EVALUATION, PROBE_BATCHES, kind_of
from normlab.evaluation.stored import evaluation_scores, probed_value
from normlab.metrics import declare_metrics, higher_is_better
from normlab.study.plans import Settings
from normlab.terminal import with_progress

# Words of summaries over epochs, for the name of a metric.
WORDS = {
    "last": "last",
    "mean": "mean",
    "sd": "SD over epochs of",
    "min": "smallest",
    "max": "largest",
    "change": "mean change per epoch of",
}
SPREADS = ("sd", "change")
VALIDATION = ("val/accuracy", "val/loss")  # by which values are chosen

Values = tuple[pd.Series, str]  # one value per run, NaN without one; and the reason


def with_claim_metric(
    plan: Settings, runs: pd.DataFrame
) -> tuple[Settings, pd.DataFrame, str]:
    """Add the metric of a claim to the runs, unless it is one that they have.

    With `select`, every arm first chooses its best value by the validation metric, and
    only the runs at these values are measured.

    Args:
        plan: the claim with the keys of its study.
        runs: from `load_runs`.

    Returns:
        The claim about a column of the runs, the runs, and why they are no answer, in
        words; empty if they are one.

    Raises:
        ValueError: no run has a value.
    """
    metric = plan["metric"]
    if isinstance(metric, str):
        return plan, runs, ""
    runs = claimed_runs(plan, runs)
    if plan.get("select"):
        runs = chosen_runs(plan, runs, validation_metric_of(metric, runs))
    name = declare(metric)
    finished = runs[runs["status"] == "finished"]
    values, why = _values(metric, finished)
    lacking = int(values.isna().sum())
    if lacking == len(finished):
        raise ValueError(f"no finished run has {name}{why}")
    reason = ""
    if lacking:
        reason = f"{lacking} of {len(finished)} runs have no {name}{why}"
    options = dict(plan, metric=name)
    options.pop("select", None)
    if metric.get("ratio") and plan.get("margin"):
        options["margin"] = math.log10(plan["margin"])
    return options, runs.assign(**{name: values.reindex(runs.index)}), reason


def declare(metric: Mapping[str, Any]) -> str:
    """Make the name of a metric known, with the direction that is better.

    That something spreads or changes less is better, and so is a lower statistic.

    Returns:
        The name.
    """
    name = metric_name(metric)
    has_name = kind_of(metric) in ("evaluation", "curve")
    is_level = has_name and metric.get("over") not in SPREADS
    declare_metrics({name: is_level and higher_is_better(name)})
    return name


def claimed_runs(plan: Settings, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the arms that a claim is about: no others need the metric."""
    if not plan.get("arms"):
        return runs
    named = list(map(setting_text, [plan["baseline"], *plan["arms"]]))
    return runs[arm_labels(runs, name_list(plan["by"])).isin(named)]


def chosen_runs(plan: Settings, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs of every arm at its best value of the setting in `select`."""
    within = list(plan.get("within", []))
    axes = [*(plan.get("interaction") or {})]
    if plan.get("slope"):
        axes.append(plan["slope"])
    check_keys(runs, [plan["select"], *within, *axes])
    runs = runs.assign(arm=arm_labels(runs, name_list(plan["by"])))
    return runs_at_best(runs, plan["select"], [*within, *axes], metric)


def validation_metric_of(metric: Mapping[str, Any], runs: pd.DataFrame) -> str:
    """What chooses the values of a setting: the metric on validation, if it has one."""
    _, _, name = str(metric[kind_of(metric)]).partition("/")
    for candidate in (f"val/{name}", *VALIDATION):
        if candidate in runs:
            return candidate
    raise ValueError(
        "select must choose by val/accuracy or val/loss, and no run has it"
    )


def metric_name(metric: Mapping[str, Any]) -> str:
    """A name for a metric, which says how it was computed.

    It begins with the part of the data and ends in the metric that it comes from.

    Args:
        metric: a mapping that was checked.
    """
    kind = kind_of(metric)
    if kind == "evaluation":
        part, _, name = metric[kind].partition("/")
        words = _evaluation_words(metric)
        if metric.get("minus") is not None:
            words = f"{words} minus {_evaluation_words(metric['minus'])}"
        return f"{part}/{words} {name}"
    if kind == "probe":
        return f"train/untrained {metric[kind]}"
    if kind == "curve":
        part, _, name = metric[kind].partition("/")
        words = _summary_words(metric)
    else:
        part = "train"
        words = _summary_words(metric)
        name = f"{metric[kind]} of {metric.get('layer', 'all norms')}"
    if metric.get("ratio"):
        # Sentences about such a metric also name the ratio.
        return f"log10 {words} {part}/{name}"
    return f"{part}/{words} {name}"


def _evaluation_words(settings: Mapping[str, Any]) -> str:
    """`contrast:3 adapted`: what differs from the defaults; `clean` if nothing does."""
    words = []
    for key, default in EVALUATION.items():
        value = settings.get(key, default)
        if value == default:
            continue
        is_plain = key in ("shift", "statistics")
        words.append(str(value) if is_plain else f"{key}={setting_text(value)}")
    return " ".join(words) or "clean"


def _summary_words(metric: Mapping[str, Any]) -> str:
    words = WORDS[metric.get("over", "last")]
    if metric.get("epochs"):
        first, last = metric["epochs"]
        words = f"epochs {first} to {last} {words}"
    return words


def _values(metric: Mapping[str, Any], runs: pd.DataFrame) -> Values:
    """The metric of every run, and why some have none."""
    kind = kind_of(metric)
    if kind == "evaluation":
        return _computed(partial(_evaluated, metric), runs, "scoring runs again")
    if kind == "probe":
        return _computed(partial(_probed, metric), runs, "probing untrained networks")
    if kind == "curve":
        column = metric[kind]
        table = read_curves(runs, [column]).rename(columns={column: "value"})
    else:
        table = read_layers(runs)
        table = table[table["statistic"] == metric[kind]]
        if metric.get("layer"):
            table = table[table["layer"] == metric["layer"]]
        table = table.groupby(["index", "epoch"], as_index=False)["value"].mean()
    return _over_epochs(metric, table).reindex(runs.index), ""


def _over_epochs(metric: Mapping[str, Any], table: pd.DataFrame) -> pd.Series:
    """One number per run from its values in all epochs, or in those that are named.

    Args:
        metric: with its options `over`, `epochs` and `ratio`.
        table: `index` of the run, `epoch` and `value`.
    """
    if metric.get("epochs"):
        first, last = metric["epochs"]
        table = table[table["epoch"].between(first, last)]
    table = table.sort_values(["index", "epoch"])
    by_run = table.groupby("index")["value"]
    values = by_run.agg(_SUMMARIES[metric.get("over", "last")])
    if metric.get("ratio"):
        values = np.log10(values.where(values > 0))
    return values


def _mean_change(values: pd.Series) -> float:
    """Mean distance between the values of one record and the next."""
    return float(values.diff().abs().mean())


def _last(values: pd.Series) -> float:
    return float(values.iloc[-1])


def _sd(values: pd.Series) -> float:
    return float(values.std(ddof=1))


_SUMMARIES: dict[str, str | Callable[[pd.Series], float]] = {
    "last": _last,
    "mean": "mean",
    "sd": _sd,
    "min": "min",
    "max": "max",
    "change": _mean_change,
}


def _computed(
    compute: Callable[[pd.Series], float], runs: pd.DataFrame, what: str
) -> Values:
    """What is computed from the folder of every run, and why some have none.

    Args:
        compute: from the row of a run to its value.
        runs: from `load_runs`.
        what: is done, for the progress that is shown.
    """
    values = {}
    why = ""
    for index, run in with_progress(runs.iterrows(), len(runs), what):
        try:
            values[index] = compute(run)
        except (OSError, ValueError) as error:
            values[index] = np.nan
            why = why or f"; the first is {run['folder']} ({error})"
    return pd.Series(values, dtype=float), why


def _evaluated(metric: Mapping[str, Any], run: pd.Series) -> float:
    """A score of the best state of a run, or the difference of two."""
    value = _score(run, metric["evaluation"], metric)
    if metric.get("minus") is None:
        return value
    return value - _score(run, metric["evaluation"], metric["minus"])


def _probed(metric: Mapping[str, Any], run: pd.Series) -> float:
    num_batches = metric.get("num_batches", PROBE_BATCHES)
    return probed_value(Path(run["folder"]), metric["probe"], num_batches)


def _score(run: pd.Series, name: str, given: Mapping[str, Any]) -> float:
    """One score of a run by some settings; its result has the one by all defaults."""
    settings = {key: given.get(key, default) for key, default in EVALUATION.items()}
    if settings == EVALUATION and name in run:
        return float(run[name])
    scores = evaluation_scores(Path(run["folder"]), settings)
    if name not in scores:
        known = ", ".join(scores)
        raise ValueError(f"its evaluation has no {name}; it has {known}")
    return scores[name]
