"""What the values of a configuration must satisfy."""

from collections.abc import Callable
from functools import cache
from typing import Any

import yaml

from normlab.config.identity import configuration_directory
from normlab.config.trust import check_targets
from normlab.spelling import did_you_mean


def _whole(minimum: int) -> tuple[Callable[[Any], bool], str]:
    def holds(value: Any) -> bool:
        return (
            isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        )

    return holds, f"a whole number of at least {minimum}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


POSITIVE = (
    lambda value: _number(value) and 0 < value < float("inf"),
    "a number above 0",
)


NOT_NEGATIVE = (
    lambda value: _number(value) and 0 <= value < float("inf"),
    "a number of at least 0",
)


FRACTION = (lambda value: _number(value) and 0 < value < 1, "a number between 0 and 1")


SHARE = (lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1")


NORMALIZATION = (
    lambda value: (
        value in ("train", "none", "imagenet")
        or (
            isinstance(value, list)
            and len(value) == 2
            and all(map(_number, value))
            and value[1] > 0
        )
    ),
    "train, none, imagenet, or [mean, standard deviation above 0]",
)


BOOLEAN = (lambda value: isinstance(value, bool), "true or false")


def _optional(
    rule: tuple[Callable[[Any], bool], str],
) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value is None or rule[0](value)), f"null or {rule[1]}"


def _one_of(*names: Any) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), "one of " + ", ".join(
        "null" if name is None else str(name) for name in names
    )


RULES = {
    "seed": _whole(0),
    "dataset.task": _one_of("classification", "regression"),
    "dataset.batch_size": _whole(1),
    "dataset.image_size": _optional(_whole(1)),
    "dataset.validation": FRACTION,
    "dataset.split": _one_of("stratified", "random", "tail"),
    "dataset.normalize": NORMALIZATION,
    "dataset.augment.flip": BOOLEAN,
    "dataset.augment.crop_padding": _whole(0),
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.eps": NOT_NEGATIVE,
    "optimizer.decay_rank_one": BOOLEAN,
    "scheduler.step_size": _whole(1),
    "scheduler.gamma": POSITIVE,
    "scheduler.eta_min": NOT_NEGATIVE,
    "scheduler.max_lr": POSITIVE,
    "scheduler.pct_start": FRACTION,
    "scheduler.factor": FRACTION,
    "scheduler.patience": _whole(0),
    "model.dropout": SHARE,
    "norm.eps": _optional(NOT_NEGATIVE),
    "norm.momentum": _optional(SHARE),
    "trainer.max_epochs": _whole(1),
    "trainer.patience": _optional(_whole(1)),
    "trainer.gradient_clip": _optional(POSITIVE),
    "statistics.every_n_epochs": _whole(0),
    "checkpoint.every_n_steps": _optional(_whole(1)),
    "device.devices": _whole(1),
    "device.precision": _one_of("32-true", "bf16-mixed"),
    "device.compile": _one_of(
        True, False, "default", "reduce-overhead", "max-autotune"
    ),
    "device.channels_last": BOOLEAN,
    "task.softmax_before_loss": BOOLEAN,
    "cache_features": BOOLEAN,
    "rerun": BOOLEAN,
    "retry": _one_of(None, "failed"),
    "progress": BOOLEAN,
    "dry_run": BOOLEAN,
    "profile": BOOLEAN,
    "trial": (
        lambda value: value is None or isinstance(value, dict),
        "null: a search sets it",
    ),
}


def check(config: dict) -> None:
    """Refuse values that no run can have.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    _check_names(config)
    for key, (holds, requirement) in RULES.items():
        present, value = _look_up(config, key)
        if present and not holds(value):
            raise ValueError(f"{key} must be {requirement}, got {value!r}")
    check_targets(config, config["trusted_packages"])
    threads = config["device"]["threads"]
    if threads != "auto" and not _whole(1)[0](threads):
        raise ValueError(
            f"device.threads must be auto or a whole number of at least 1, got {threads!r}"
        )


def _check_names(config: dict) -> None:
    """`+` lets Hydra add any key; one that nothing reads would change nothing and be taken for a setting."""
    for key in config:
        if key not in _known_names():
            hint = did_you_mean(key, _known_names())
            raise ValueError(f"the configuration has no key {key!r}{hint}")


@cache
def _known_names() -> list[str]:
    directory = configuration_directory()
    return [
        *yaml.safe_load((directory / "config.yaml").read_text()),
        *(path.name for path in directory.iterdir()),
    ]


def _look_up(config: dict, key: str) -> tuple[bool, Any]:
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return False, None
        config = config[name]
    return True, config
