"""Metrics of claims that `result.json` does not have, as a study states them.

Each is a mapping with one of the keys of `KINDS`, and the options that belong to it:

- `{evaluation: test/accuracy, shift: contrast:3}`: a score of the stored best state,
  with other statistics or on corrupted images;
- `{curve: val/loss, over: sd}`: a column of `metrics.csv`, summarized over epochs, and
  divided by the same summary of another column if `divided_by` names one;
- `{statistic: mean_drift, layer: hidden.0.norm}`: of norm layers, from
  `statistics.csv`;
- `{probe: gradient_growth}`: of the network before training.
"""

import re
from collections.abc import Mapping
from typing import Any

from normlab.config.types import is_mapping, is_text, is_whole, list_of, rule_of
from normlab.spelling import did_you_mean

# By which statistics norms normalize when a run is scored again.
STATISTICS = (
    "running",
    "batch",
    "recalibrated",
    "frozen",
    "adapted",
    "mixed",
    "tent",
)
# What may happen to images that are scored.
SHIFTS = (
    *("brightness", "contrast", "gaussian_noise", "noise", "shot_noise"),
    *("impulse_noise", "speckle_noise", "gaussian_blur", "blur", "defocus_blur"),
    *("glass_blur", "motion_blur", "zoom_blur", "fog", "snow", "spatter", "saturate"),
    *("elastic_transform", "pixelate", "jpeg_compression", "inversion"),
)
SHIFT = re.compile(rf"(?:{'|'.join(SHIFTS)}):[1-5]")
PARTS = ("train", "val", "test")
# In place of a part, for columns of `metrics.csv`: validation by running statistics
# that are computed again after every epoch.
RECALIBRATED = "val_recalibrated"
SCORED = "scored/"  # before the name of a part that is scored, and not the run's own
SOURCES = (*PARTS, *(SCORED + name for name in PARTS))
# Arguments of `normlab.evaluation.evaluate.evaluate_run`, with their defaults.
EVALUATION: dict[str, Any] = {
    "shift": None,
    "statistics": "running",
    "num_batches": 100,
    "recalibrate_on": "train",
    "batch_size": None,
    "pseudo_count": 16,
    "lr": 1e-3,
}
# What is computed from the network before training, and from how many batches.
PROBES = ("gradient_growth",)
PROBE_BATCHES = 10
# How the values of all epochs become one number.
SUMMARIES = ("last", "mean", "sd", "min", "max", "change")
OVER_EPOCHS = ("over", "epochs", "ratio")
# The kinds of metrics, and the options of each.
KINDS = {
    "evaluation": (*EVALUATION, "minus"),
    "curve": (*OVER_EPOCHS, "divided_by"),
    "statistic": ("layer", *OVER_EPOCHS),
    "probe": ("num_batches",),
}
CHOICES = {
    "statistics": STATISTICS,
    "recalibrate_on": SOURCES,
    "over": SUMMARIES,
    "probe": PROBES,
}
TYPES = {
    "num_batches": "whole number of at least 1",
    "batch_size": "null or whole number of at least 2",
    "pseudo_count": "number of at least 0",
    "lr": "number above 0",
    "ratio": "true or false",
    "layer": "text",
}


def kind_of(metric: Mapping[str, Any]) -> str:
    """The key of a metric that says what it is; the metric is one that was checked."""
    return next(key for key in metric if key in KINDS)


def check_metric(source: str, metric: Any) -> None:
    """Refuse a metric that no value can be computed for.

    Args:
        source: what has the plan, for the message.
        metric: the name of a metric, or a mapping.

    Raises:
        ValueError: says what is wrong with it.
    """
    if is_text(metric):
        return
    if not is_mapping(metric) or len(KINDS.keys() & metric.keys()) != 1:
        raise ValueError(
            f"{source}: metric must be a name such as test/accuracy, or a mapping with "
            f"one of {', '.join(KINDS)}; got {metric}"
        )
    kind = kind_of(metric)
    if not is_text(metric[kind]):
        raise ValueError(f"{source}: {kind} must be a name, got {metric[kind]}")
    _check_options(source, metric, (kind, *KINDS[kind]))
    if kind in ("statistic", "probe"):
        return
    if kind == "evaluation":
        _check_column(source, kind, metric[kind], PARTS)
        return
    parts = (*PARTS, RECALIBRATED)
    _check_column(source, kind, metric[kind], parts)
    if metric.get("divided_by") is not None:
        _check_column(source, "divided_by", metric["divided_by"], parts)


def _check_column(source: str, key: str, name: Any, parts: tuple[str, ...]) -> None:
    """Refuse a name that is not that of a metric on one of the parts."""
    part, _, metric = str(name).partition("/")
    if part not in parts or not metric:
        raise ValueError(
            f"{source}: {key} must name a part ({', '.join(parts)}) and a metric, such "
            f"as val/loss; got {name}"
        )


def _check_options(source: str, options: Any, known: tuple[str, ...]) -> None:
    for key, value in options.items():
        if key not in known:
            hint = did_you_mean(str(key), known) or f"; known are {', '.join(known)}"
            raise ValueError(f"{source}: metric has an unknown key {key!r}{hint}")
        _check_value(source, key, value)
    _check_shift(source, options.get("shift"))
    _check_epochs(source, options.get("epochs"))
    minus = options.get("minus")
    if minus is None:
        return
    if not is_mapping(minus):
        raise ValueError(
            f"{source}: minus must hold the options of another evaluation, such as "
            f"{{statistics: running}}; got {minus}"
        )
    _check_options(source, minus, tuple(EVALUATION))


def _check_value(source: str, key: str, value: Any) -> None:
    """Refuse a value that is none of its choices, or of another type."""
    if key in CHOICES and value not in CHOICES[key]:
        known = ", ".join(CHOICES[key])
        raise ValueError(f"{source}: {key} must be one of {known}, got {value}")
    if key not in TYPES:
        return
    rule = rule_of(TYPES[key])
    if not rule.holds(value):
        raise ValueError(f"{source}: {key} must be {rule.requirement}, got {value}")


def _check_shift(source: str, shift: Any) -> None:
    if shift is None or (isinstance(shift, str) and SHIFT.fullmatch(shift)):
        return
    raise ValueError(
        f"{source}: shift must be one of {', '.join(SHIFTS)} with a severity from 1 to "
        f"5, such as contrast:3; got {shift}"
    )


def _check_epochs(source: str, epochs: Any) -> None:
    """Refuse epochs that are no range from a first to a last one, counted from 1."""
    if epochs is None:
        return
    are_two = list_of(is_whole, 2)
    if not are_two(epochs) or not 1 <= epochs[0] <= epochs[1]:
        raise ValueError(
            f"{source}: epochs must be the first and the last one, such as [1, 5]; got "
            f"{epochs}"
        )
