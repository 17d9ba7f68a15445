"""Names of metrics by task, and which direction is better."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

PARTS = ("train", "val", "test")

# What a task computes for every part; the first name decides which epoch is best.
METRICS = {
    "classification": ("accuracy", "loss"),
    "regression": ("loss", "rmse", "mae", "r2"),
}

# What is computed of validation and test besides, once training has ended, and after
# every epoch if the run monitors one of them: see `normlab.training.scores`.
SCORES = (
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "micro_f1",
    "top_5_accuracy",
    "auroc",
    "brier",
    "nll",
    "ece",
)


def refuse_unknown_monitor(
    monitor: str | None, names: Sequence[str], scores: Sequence[str]
) -> None:
    """Refuse to monitor a metric that no epoch has.

    Args:
        monitor: value of `trainer.monitor`.
        names: metrics of training and validation.
        scores: further metrics of validation.

    Raises:
        ValueError: lists the metrics that there are.
    """
    known = [f"val/{name}" for name in (*names, *scores)]
    known += [f"train/{name}" for name in names]
    if monitor is not None and monitor not in known:
        raise ValueError(
            f"trainer.monitor must be null or one of {', '.join(known)}, "
            f"got {monitor!r}"
        )


def refuse_unknown_stop(options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse to stop at a value of a metric that no epoch records.

    Args:
        options: `trainer` of a configuration; `stop_at` is read, and what adds metrics
            to an epoch.
        names: metrics of the task.

    Raises:
        ValueError: lists the metrics that there are, or says what else is wrong.
    """
    if options.get("stop_at") is None:
        return
    metric, _ = parse_target(options["stop_at"], "trainer.stop_at")
    parts = ["val", "train"]
    if options.get("test_every_epoch"):
        parts.append("test")
    if options.get("recalibration_batches") is not None:
        parts.append("val_recalibrated")
    known = [f"{part}/{name}" for part in parts for name in names]
    monitor = options.get("monitor")
    if monitor is not None and monitor not in known:
        known.append(monitor)
    if metric not in known:
        hint = ""
        if metric.startswith("test/") and "test" not in parts:
            hint = "; trainer.test_every_epoch=true adds those of the test part"
        raise ValueError(
            f"trainer.stop_at must have one of the metrics {', '.join(known)}, got "
            f"{metric!r}{hint}"
        )
    if not direction_is_known(metric):
        raise ValueError(
            "trainer.stop_at must have a metric whose name tells which direction is "
            f"better, such as val/loss, got {metric!r}"
        )


def parse_target(text: str, name: str = "target") -> tuple[str, float]:
    """Metric and value of a target such as `val/accuracy=0.97`.

    Args:
        text: the target.
        name: what the error calls it.

    Raises:
        ValueError: the text has another form, or the value is not finite.
    """
    metric, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"{name} must be METRIC=VALUE, such as val/accuracy=0.97, got {text!r}"
        )
    return metric.strip(), number


def reaches(metric: str, values: Any, targets: Any) -> Any:
    """Whether a value is at least the target, or at most if lower is better.

    Args:
        metric: the name of the metric.
        values, targets: numbers, or series of them.
    """
    return values >= targets if higher_is_better(metric) else values <= targets


# A metric is recognized by the end of its name, so that `val/accuracy` counts too.
HIGHER_IS_BETTER = (
    "accuracy",
    "r2",
    "samples_per_second",
    "learning rate",
    "f1",
    "precision",
    "recall",
    "auroc",
    "auc",
    "iou",
    "dice",
)
LOWER_IS_BETTER = (
    "loss",
    "brier",
    "nll",
    "ece",
    "error",
    "error_rate",
    "mse",
    "rmse",
    "mae",
    "perplexity",
    "seconds",
    "milliseconds",
    "memory_mib",
)

# Short names that other programs use. They must be the whole last word of a name, in
# any case: `test_acc`, `Top1`, `eval/BLEU`.
SHORT_HIGHER = (
    *("acc", "top1", "top5", "auc", "map", "miou", "bleu", "rouge", "psnr", "ssim"),
    *("reward", "return", "r2"),
)
SHORT_LOWER = (
    *("err", "ppl", "fid", "wer", "cer", "bpb", "bpc", "mape", "regret"),
    *("runtime", "duration"),
)

# Metrics of other programs, by name: whether a higher value is better, None if unknown.
_declared: dict[str, bool | None] = {}


def declare_metrics(directions: Mapping[str, bool | None]) -> None:
    """Make names known as metrics for the rest of this process.

    Results of other programs have metrics whose names say neither that they are metrics
    nor which direction is better.

    Args:
        directions: by name, whether a higher value is better; None if that is unknown.
    """
    _declared.update(directions)


def is_declared(name: str) -> bool:
    """Whether a name was made known as a metric by `declare_metrics`."""
    return name in _declared


def is_metric(name: str) -> bool:
    """Whether a name is that of a metric on a part of the data, such as `val/loss`.

    Names that were declared are metrics as well.
    """
    return name in _declared or is_metric_name(name)


def is_metric_name(name: str) -> bool:
    """Whether a name itself says so, whatever was declared in this process.

    A slash alone does not make a metric: settings may have one in their key too.
    """
    part, slash, _ = name.partition("/")
    return part in PARTS and slash == "/"


def higher_is_better(metric: str) -> bool:
    """Whether a high value of the metric is good.

    True for accuracies, R², speed and the like. Losses, errors and times are better
    low, and so is taken to be every metric whose name does not say.
    """
    return _direction(metric) or False


def direction_is_known(metric: str) -> bool:
    """Whether the name of the metric, or a user, tells which direction is better."""
    return _direction(metric) is not None


def _direction(metric: str) -> bool | None:
    """Whether a higher value is better; None if nothing tells."""
    declared = _declared.get(metric)
    if declared is not None:
        return declared
    return named_direction(metric)


def named_direction(metric: str) -> bool | None:
    """Whether a higher value is better by the name; None if the name does not say."""
    name = re.sub(r"[^a-z0-9]+$", "", metric.lower())  # `Accuracy (%)` too
    last = re.split(r"[^a-z0-9]", name)[-1]
    if name.endswith(HIGHER_IS_BETTER) or last in SHORT_HIGHER:
        return True
    if name.endswith(LOWER_IS_BETTER) or last in SHORT_LOWER:
        return False
    return None
