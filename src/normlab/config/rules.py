"""Rules that the values of a configuration must satisfy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from normlab.config.identity import configuration_directory
from normlab.config.trust import check_targets, refuse_interpolations
from normlab.spelling import did_you_mean


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy.

    Attributes:
        holds: whether it does.
        requirement: the same in words, as in "lr must be <requirement>".
    """

    holds: Callable[[Any], bool]
    requirement: str


def is_number(value: Any) -> bool:
    """Whether a value is a real number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(minimum: int) -> Rule:
    """A whole number that is not smaller than `minimum`."""
    return Rule(
        lambda value: is_whole(value) and value >= minimum,
        f"a whole number of at least {minimum}",
    )


def one_of(*allowed: Any) -> Rule:
    """One of the listed values."""
    names = ["null" if value is None else str(value) for value in allowed]
    return Rule(lambda value: value in allowed, "one of " + ", ".join(names))


def optional(rule: Rule) -> Rule:
    """Null, or what another rule allows."""
    return Rule(
        lambda value: value is None or rule.holds(value), f"null or {rule.requirement}"
    )


def _is_mean_and_deviation(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(map(is_number, value)) and value[1] > 0


POSITIVE = Rule(
    lambda value: is_number(value) and 0 < value < math.inf, "a number above 0"
)
NOT_NEGATIVE = Rule(
    lambda value: is_number(value) and 0 <= value < math.inf, "a number of at least 0"
)
FRACTION = Rule(
    lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1"
)
SHARE = Rule(lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1")
BOOLEAN = Rule(lambda value: isinstance(value, bool), "true or false")
NORMALIZATION = Rule(
    lambda value: (
        value in ("train", "none", "imagenet") or _is_mean_and_deviation(value)
    ),
    "train, none, imagenet, or [mean, standard deviation above 0]",
)
THREADS = Rule(
    lambda value: value == "auto" or (is_whole(value) and value >= 1),
    "auto or a whole number of at least 1",
)
SET_BY_A_SEARCH = Rule(
    lambda value: value is None or isinstance(value, dict), "null: a search sets it"
)

RULES = {
    "seed": whole(0),
    "dataset.task": one_of("classification", "regression"),
    "dataset.batch_size": whole(1),
    "dataset.image_size": optional(whole(1)),
    "dataset.validation": FRACTION,
    "dataset.split": one_of("stratified", "random", "tail"),
    "dataset.normalize": NORMALIZATION,
    "dataset.augment.flip": BOOLEAN,
    "dataset.augment.crop_padding": whole(0),
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.eps": NOT_NEGATIVE,
    "optimizer.decay_rank_one": BOOLEAN,
    "scheduler.step_size": whole(1),
    "scheduler.gamma": POSITIVE,
    "scheduler.eta_min": NOT_NEGATIVE,
    "scheduler.max_lr": POSITIVE,
    "scheduler.pct_start": FRACTION,
    "scheduler.factor": FRACTION,
    "scheduler.patience": whole(0),
    "model.dropout": SHARE,
    "norm.eps": optional(NOT_NEGATIVE),
    "norm.momentum": optional(SHARE),
    "trainer.max_epochs": whole(1),
    "trainer.patience": optional(whole(1)),
    "trainer.gradient_clip": optional(POSITIVE),
    "statistics.every_n_epochs": whole(0),
    "checkpoint.every_n_steps": optional(whole(1)),
    "device.devices": whole(1),
    "device.precision": one_of("32-true", "bf16-mixed"),
    "device.compile": one_of(True, False, "default", "reduce-overhead", "max-autotune"),
    "device.channels_last": BOOLEAN,
    "device.threads": THREADS,
    "task.softmax_before_loss": BOOLEAN,
    "cache_features": BOOLEAN,
    "rerun": BOOLEAN,
    "retry": one_of(None, "failed"),
    "progress": BOOLEAN,
    "dry_run": BOOLEAN,
    "profile": BOOLEAN,
    "trial": SET_BY_A_SEARCH,
}


def check(config: dict[str, Any]) -> None:
    """Refuse values that no run can have.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    refuse_interpolations(config)
    _check_names(config)
    for key, rule in RULES.items():
        present, value = _look_up(config, key)
        if present and not rule.holds(value):
            raise ValueError(f"{key} must be {rule.requirement}, got {value!r}")
    check_targets(config, config["trusted_packages"])


def _check_names(config: dict[str, Any]) -> None:
    """Refuse unknown keys.

    With `+`, Hydra adds any key. A misspelt one would change nothing although it looks
    like a setting.
    """
    known = _known_names()
    for key in config:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ValueError(f"the configuration has no key {key!r}{hint}")


@cache
def _known_names() -> list[str]:
    directory = configuration_directory()
    keys = yaml.safe_load((directory / "config.yaml").read_text())
    return [*keys, *(path.name for path in directory.iterdir())]


def _look_up(config: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Whether a dotted key is present, and its value."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False, None
        node = node[name]
    return True, node
