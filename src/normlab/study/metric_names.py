"""Names of the metrics that claims state as mappings."""

from collections.abc import Mapping
from typing import Any

from normlab.compare.settings import setting_text
from normlab.config.claim_metrics import EVALUATION, kind_of
from normlab.metrics import declare_metrics, higher_is_better

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


def declare(metric: Mapping[str, Any]) -> str:
    """Make the name of a metric known, with the direction that is better.

    That something spreads or changes less is better, and so is a lower statistic.

    Returns:
        The name.
    """
    name = metric_name(metric)
    has_name = kind_of(metric) in ("evaluation", "curve")
    is_level = has_name and metric.get("over") not in SPREADS
    declare_metrics({name: is_level and higher_is_better(metric[kind_of(metric)])})
    return name


def metric_name(metric: Mapping[str, Any]) -> str:
    """A name for a metric, which says how it was computed.

    It begins with the part of the data and ends in the metric that it comes from.

    Args:
        metric: a mapping that was checked.
    """
    kind = kind_of(metric)
    if kind == "probe":
        return f"train/untrained {metric[kind]}"
    if kind == "evaluation":
        words = _evaluation_words(metric)
        part, _, name = metric[kind].partition("/")
        return f"{part}/{words} {name}"

    words = _summary_words(metric)
    if kind == "statistic":
        part = "train"
        layer = metric.get("layer", "all norms")
        name = f"{metric[kind]} of {layer}"
    else:
        part, _, name = metric[kind].partition("/")
    if metric.get("divided_by"):
        name = f"{name} divided by that of {metric['divided_by']}"
    if metric.get("ratio"):
        # Sentences about such a metric also name the ratio.
        return f"log10 {words} {part}/{name}"
    return f"{part}/{words} {name}"


def _evaluation_words(metric: Mapping[str, Any]) -> str:
    """`contrast:3 adapted`: what differs from the defaults; `clean` if nothing does."""
    words = _setting_words(metric)
    other = metric.get("minus")
    if other is None:
        return words
    return f"{words} minus {_setting_words(other)}"


def _setting_words(settings: Mapping[str, Any]) -> str:
    words = []
    for key, default in EVALUATION.items():
        value = settings.get(key, default)
        if value == default:
            continue
        text = setting_text(value)
        if key not in ("shift", "statistics"):
            text = f"{key}={text}"
        words.append(text)
    return " ".join(words) or "clean"


def _summary_words(metric: Mapping[str, Any]) -> str:
    words = WORDS[metric.get("over", "last")]
    if metric.get("epochs"):
        first, last = metric["epochs"]
        words = f"epochs {first} to {last} {words}"
    return words
