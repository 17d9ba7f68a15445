"""Rules that the values of a configuration must satisfy."""

import math
from collections.abc import Callable, Iterable
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
MAPPING = Rule(lambda value: isinstance(value, dict), "keys and values, as in {a: 1}")
TEXT = Rule(lambda value: isinstance(value, str) and value != "", "a text")
NAMES = Rule(
    lambda value: (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    ),
    "a list of names",
)
LOGGERS = Rule(
    lambda value: (
        value is None
        or (
            isinstance(value, dict)
            and all(isinstance(node, dict) for node in value.values())
        )
    ),
    "a list of options, such as [tensorboard,csv]",
)
SET_BY_A_SEARCH = Rule(
    lambda value: value is None or isinstance(value, dict), "null: a search sets it"
)

RULES = {
    "seed": whole(0),
    "group": TEXT,
    "paths.outputs": TEXT,
    "logger": LOGGERS,
    "trusted_packages": NAMES,
    "dataset.task": one_of("classification", "regression"),
    "dataset.batch_size": whole(1),
    "dataset.image_size": optional(whole(1)),
    "dataset.validation": FRACTION,
    "dataset.split": one_of("stratified", "random", "tail"),
    "dataset.normalize": NORMALIZATION,
    "dataset.augment": MAPPING,
    "dataset.load": MAPPING,
    "dataset.use_val": BOOLEAN,
    "dataset.encoding": optional(TEXT),
    "dataset.augment.flip": BOOLEAN,
    "dataset.augment.crop_padding": whole(0),
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.eps": NOT_NEGATIVE,
    "optimizer.decay_rank_one": BOOLEAN,
    "scheduler.interval": one_of("epoch", "step", "plateau"),
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
    "trainer.monitor": optional(TEXT),
    "trainer.patience": optional(whole(1)),
    "trainer.gradient_clip": optional(POSITIVE),
    "statistics.every_n_epochs": whole(0),
    "statistics.histograms": BOOLEAN,
    "checkpoint.every_seconds": NOT_NEGATIVE,
    "checkpoint.every_n_steps": optional(whole(1)),
    "device.devices": whole(1),
    "device.deterministic": BOOLEAN,
    "device.precision": one_of("32-true", "bf16-mixed"),
    "device.compile": one_of(True, False, "default", "reduce-overhead", "max-autotune"),
    "device.channels_last": BOOLEAN,
    "device.threads": THREADS,
    "task.loss": optional(TEXT),
    "task.softmax_before_loss": BOOLEAN,
    "cache_features": BOOLEAN,
    "rerun": BOOLEAN,
    "retry": one_of(None, "failed"),
    "progress": BOOLEAN,
    "dry_run": BOOLEAN,
    "profile": BOOLEAN,
    "trial": SET_BY_A_SEARCH,
}


# What every option of a group must have, beside the keys of conf/config.yaml.
REQUIRED = {
    "dataset": (
        *("task", "shape", "num_classes", "image_size", "batch_size", "validation"),
        *("split", "normalize", "augment", "load"),
    ),
    "model": ("_target_",),
    "norm": ("_target_",),
    "optimizer": ("_target_", "weight_decay", "decay_rank_one"),
    "scheduler": ("_target_", "interval"),
    "device": ("accelerator", "devices", "strategy", "precision", "threads", "compile"),
}


def check(config: dict[str, Any]) -> None:
    """Refuse what no run can have: missing or unknown keys, and impossible values.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: names the key, what it must be and what it is.
    """
    refuse_interpolations(config)
    _check_structure(config)
    _check_names(config)
    for key, rule in RULES.items():
        present, value = _look_up(config, key)
        if present and not rule.holds(value):
            raise ValueError(f"{key} must be {rule.requirement}, got {value!r}")
    check_targets(config, config["trusted_packages"])


def _check_structure(config: dict[str, Any]) -> None:
    """Refuse a configuration from which groups or keys were taken away."""
    for key, names in REQUIRED.items():
        if not isinstance(config.get(key), dict):
            raise ValueError(
                f"{key} must be an option of conf/{key}, as in {key}=NAME, "
                f"got {_shown(config, key)}"
            )
        needed = f"; the file of an option of {key} must have {', '.join(names)}"
        _check_keys(f"{key}.", names, config[key], needed)
    for key, default in _defaults().items():
        if isinstance(default, dict) and isinstance(config.get(key), dict):
            _check_keys(f"{key}.", tuple(default), config[key])
        elif isinstance(default, dict):
            raise ValueError(
                f"{key} must hold {', '.join(default)}, got {_shown(config, key)}"
            )
    _check_keys("", tuple(_defaults()), config)
    _check_keys("choices.", tuple(REQUIRED), config["choices"])


def _check_keys(
    prefix: str, names: tuple[str, ...], node: dict[str, Any], needed: str = ""
) -> None:
    for name in names:
        if name not in node:
            raise ValueError(
                f"the configuration must have the key {prefix}{name}{needed}"
            )


def _shown(config: dict[str, Any], key: str) -> str:
    if key not in config:
        return "nothing"
    return "null" if config[key] is None else repr(config[key])


@cache
def _defaults() -> dict[str, Any]:
    """The keys of conf/config.yaml with their defaults, some of them unresolved."""
    content = yaml.safe_load((configuration_directory() / "config.yaml").read_text())
    del content["defaults"], content["hydra"]
    return content


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration, completed with keys that its version did not have.

    Args:
        config: the resolved configuration of a run that an earlier version may have
            stored.
    """
    completed = dict(config)
    for key, default in _defaults().items():
        if isinstance(default, dict) and isinstance(config.get(key), dict):
            completed[key] = {**default, **config[key]}
        elif key != "choices":
            completed.setdefault(key, default)
    return completed


def _check_names(config: dict[str, Any]) -> None:
    """Refuse unknown keys.

    With `+`, Hydra adds any key. A misspelt one would change nothing although it looks
    like a setting. What a class takes that a `_target_` names is checked when it is
    looked up, in `targets.py`.
    """
    _refuse_unknown("", config, _known_names())
    for key, default in _defaults().items():
        if isinstance(default, dict):
            _refuse_unknown(f"{key}.", config[key], list(default))
    _refuse_unknown("device.", config["device"], list(_option("device", "auto")))
    augmentations = _option("dataset", "digits")["augment"]
    _refuse_unknown("dataset.augment.", config["dataset"]["augment"], augmentations)
    # Data sets of one's own may have keys of their own, which their loader gets.
    shipped = _option("dataset", str(config["choices"]["dataset"]))
    if shipped:
        known = [*shipped, *REQUIRED["dataset"]]
        _refuse_unknown("dataset.", config["dataset"], known)


def _refuse_unknown(prefix: str, node: Any, known: Iterable[str]) -> None:
    known = list(known)
    for key in node if isinstance(node, dict) else ():
        if key not in known:
            full_key = f"{prefix}{key}"
            hint = did_you_mean(full_key, [f"{prefix}{name}" for name in known])
            raise ValueError(f"the configuration has no key {full_key!r}{hint}")


@cache
def _option(group: str, choice: str) -> dict[str, Any]:
    """The keys of a file of our own conf/; none if there is no such file."""
    path = configuration_directory() / group / f"{choice}.yaml"
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text()) or {}


@cache
def _known_names() -> list[str]:
    groups = [path.name for path in configuration_directory().iterdir()]
    return [*_defaults(), *groups]


def _look_up(config: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Whether a dotted key is present, and its value."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False, None
        node = node[name]
    return True, node
