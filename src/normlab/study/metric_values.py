"""The values of metrics that claims state as mappings, for every run."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.compare.curves import read_curves, read_layers
from normlab.config.claim_metrics import EVALUATION, PROBE_BATCHES, kind_of
from normlab.evaluation.stored import evaluation_scores, probed_value
from normlab.option_names import with_option_names
from normlab.terminal import with_progress

OPTIONS = {"trusted": "--trust"}  # studies are answered by a command
PANDAS_NAMES = {"sd": "std"}  # of summaries that pandas calls otherwise

Values = tuple[pd.Series, str]  # one value per run, NaN without one; and the reason


def metric_values(
    metric: Mapping[str, Any],
    runs: pd.DataFrame,
    trusted: Sequence[str] = (),
) -> Values:
    """The metric of every run, and why some have none.

    Args:
        metric: as a claim states it.
        runs: from `load_runs`.
        trusted: packages of the user's own that the runs may call.
    """
    kind = kind_of(metric)
    if kind == "evaluation":
        return _computed(
            partial(_evaluated, metric, trusted), runs, "scoring runs again"
        )
    if kind == "probe":
        return _computed(
            partial(_probed, metric, trusted), runs, "probing untrained networks"
        )
    if kind == "curve":
        by_run = _of_curves(metric, runs)
    else:
        by_run = _over_epochs(metric, _statistics(metric, runs))
    if metric.get("ratio"):
        by_run = by_run.where(by_run > 0).map(math.log10)
    return by_run.reindex(runs.index), ""


def _of_curves(
    metric: Mapping[str, Any],
    runs: pd.DataFrame,
) -> pd.Series:
    """A curve over epochs, divided by another one of the same run if asked for."""
    column = metric["curve"]
    divisor = metric.get("divided_by")
    curves = read_curves(runs, [column] if divisor is None else [column, divisor])
    values = _over_epochs(metric, curves.assign(value=curves[column]))
    if divisor is None:
        return values
    divisors = _over_epochs(metric, curves.assign(value=curves[divisor]))
    return values / divisors.where(divisors != 0)


def _statistics(
    metric: Mapping[str, Any],
    runs: pd.DataFrame,
) -> pd.DataFrame:
    """A statistic by run and epoch, of one layer or the mean over all that have it."""
    table = read_layers(runs)
    table = table[table["statistic"] == metric["statistic"]]
    if metric.get("layer"):
        table = table[table["layer"] == metric["layer"]]
    by_epoch = table.groupby(["index", "epoch"], as_index=False)
    return by_epoch["value"].mean()


def _over_epochs(
    metric: Mapping[str, Any],
    table: pd.DataFrame,
) -> pd.Series:
    """One number per run from its values in all epochs, or in those that are named.

    Args:
        metric: with its options `over` and `epochs`.
        table: `index` of the run, `epoch` and `value`.
    """
    if metric.get("epochs"):
        first, last = metric["epochs"]
        table = table[table["epoch"].between(first, last)]
    table = table.sort_values(["index", "epoch"])
    by_run = table.groupby("index")["value"]
    over = metric.get("over", "last")
    if over == "change":
        return by_run.agg(_mean_change)
    return by_run.agg(PANDAS_NAMES.get(over, over))


def _mean_change(values: pd.Series) -> float:
    """Mean distance between the values of one record and the next."""
    distances = values.diff().abs()
    return float(distances.mean())


def _computed(
    compute: Callable[[pd.Series], float],
    runs: pd.DataFrame,
    what: str,
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
            values[index] = math.nan
            if not why:
                reason = with_option_names(str(error), OPTIONS)
                why = f"; the first is {run['folder']} ({reason})"
    return pd.Series(values, dtype=float), why


def _evaluated(
    metric: Mapping[str, Any],
    trusted: Sequence[str],
    run: pd.Series,
) -> float:
    """A score of the best state of a run, or the difference of two."""
    name = metric["evaluation"]
    value = _score(run, name, metric, trusted)
    if metric.get("minus") is None:
        return value
    return value - _score(run, name, metric["minus"], trusted)


def _probed(
    metric: Mapping[str, Any],
    trusted: Sequence[str],
    run: pd.Series,
) -> float:
    num_batches = metric.get("num_batches", PROBE_BATCHES)
    return probed_value(Path(run["folder"]), metric["probe"], num_batches, trusted)


def _score(
    run: pd.Series,
    name: str,
    given: Mapping[str, Any],
    trusted: Sequence[str],
) -> float:
    """One score of a run by some settings; its result has the one by all defaults."""
    settings = {}
    for key, default in EVALUATION.items():
        settings[key] = given.get(key, default)
    if settings == EVALUATION and name in run:
        return float(run[name])
    part, _, _ = name.partition("/")
    settings["parts"] = [part]
    scores = evaluation_scores(Path(run["folder"]), settings, trusted)
    if name not in scores:
        known = ", ".join(scores)
        raise ValueError(f"its evaluation has no {name}; it has {known}")
    return scores[name]
