"""A configuration as plain data: where it lives, what it is called, and what it must satisfy."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# What may change without changing the result of a run, and therefore not its folder.
NOT_PART_OF_THE_RESULT = (
    "paths",
    "group",
    "rerun",
    "retry",
    "logger",
    "progress",
    "dry_run",
    "profile",
    "trusted_packages",
    "trial",
)

# Options that norms got later, by the norm's name, with what runs without them do.
LATER_OF_NORMS = {
    **{name: {"bias": True} for name in ("torch", "custom", "ghost", "batch_renorm")},
    "noisy_batch": {"bias": True, "track_running_stats": True, "sync": False, "kernel": "auto"},
}


def configuration_directory() -> Path:
    """`conf/` of the checkout, or the copy that the wheel carries."""
    checkout = Path(__file__).resolve().parents[2] / "conf"
    return checkout if (checkout / "config.yaml").is_file() else Path(__file__).resolve().parent / "conf"


def came_later(norm: str) -> dict[str, dict[str, Any]]:
    """Settings that runs of earlier versions do not have, by group, with what those runs did.

    At these values they change no run's name, and a comparison takes runs without them for runs with them.
    """
    return {"device": {"channels_last": False}, "norm": LATER_OF_NORMS.get(norm, {})}


def digest(config: dict) -> str:
    """Hexadecimal SHA-256 of everything in a resolved configuration that the result depends on."""
    kept = {key: value for key, value in config.items() if key not in NOT_PART_OF_THE_RESULT}
    for group, unchanged in came_later(config["choices"]["norm"]).items():
        kept[group] = {key: value for key, value in config[group].items() if (key, value) not in unchanged.items()}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def run_name(config: dict) -> str:
    """`<group>/<norm>-<optimizer>-lr<lr>-seed<seed>-<digest>`: readable, and different for different runs."""
    choices, lr = config["choices"], config["optimizer"].get("lr")
    rate = "" if lr is None else f"-lr{lr:g}"
    readable = f"{choices['norm']}-{choices['optimizer']}{rate}-seed{config['seed']}"
    return f"{_file_name(config['group'])}/{_file_name(readable)}-{digest(config)[:10]}"


def run_folder(config: dict) -> Path:
    """The folder of the run, a function of its configuration alone."""
    return Path(config["paths"]["outputs"]) / run_name(config)


def _file_name(text: str) -> str:
    """At most 80 bytes that name a file on every system, and no other folder than one of its own."""
    name = re.sub(r"[^\w.=+-]+", "_", str(text)).lstrip(".")
    return name.encode()[:80].decode(errors="ignore") or "_"


def _whole(minimum: int) -> tuple[Callable[[Any], bool], str]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= minimum

    return holds, f"a whole number of at least {minimum}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


POSITIVE = (lambda value: _number(value) and 0 < value < float("inf"), "a number above 0")
NOT_NEGATIVE = (lambda value: _number(value) and 0 <= value < float("inf"), "a number of at least 0")
FRACTION = (lambda value: _number(value) and 0 < value < 1, "a number between 0 and 1")
SHARE = (lambda value: _number(value) and 0 <= value <= 1, "a number from 0 to 1")
NORMALIZATION = (
    lambda value: (
        value in ("train", "none", "imagenet")
        or (isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[1] > 0)
    ),
    "train, none, imagenet, or [mean, standard deviation above 0]",
)
BOOLEAN = (lambda value: isinstance(value, bool), "true or false")


def _optional(rule: tuple[Callable[[Any], bool], str]) -> tuple[Callable[[Any], bool], str]:
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
    "device.compile": _one_of(True, False, "default", "reduce-overhead", "max-autotune"),
    "device.channels_last": BOOLEAN,
    "task.softmax_before_loss": BOOLEAN,
    "cache_features": BOOLEAN,
    "rerun": BOOLEAN,
    "retry": _one_of(None, "failed"),
    "progress": BOOLEAN,
    "dry_run": BOOLEAN,
    "profile": BOOLEAN,
    "trial": (lambda value: value is None or isinstance(value, dict), "null: a search sets it"),
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
        raise ValueError(f"device.threads must be auto or a whole number of at least 1, got {threads!r}")


def _check_names(config: dict) -> None:
    """`+` lets Hydra add any key; one that nothing reads would change nothing and be taken for a setting."""
    for key in config:
        if key not in _known_names():
            near = get_close_matches(key, _known_names(), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"the configuration has no key {key!r}{hint}")


@cache
def _known_names() -> list[str]:
    directory = configuration_directory()
    return [*yaml.safe_load((directory / "config.yaml").read_text()), *(path.name for path in directory.iterdir())]


def _look_up(config: dict, key: str) -> tuple[bool, Any]:
    for name in key.split("."):
        if not isinstance(config, dict) or name not in config:
            return False, None
        config = config[name]
    return True, config


# Of normlab only what people add to: the rest of it also starts programs and writes files.
TRUSTED_PACKAGES = ("normlab.data", "normlab.loggers", "normlab.models", "normlab.norms")
TRUSTED_PACKAGES += ("torch.nn", "torch.optim", "torchvision", "timm", "pytorch_lightning")
# What Hydra builds before it hands over a configuration.
HYDRA_PACKAGES = ("hydra_plugins", "hydra._internal.core_plugins", "optuna.samplers", "optuna.pruners")
LOGGING_PACKAGES = ("logging", "colorlog")


def targets_of(config: Any, keys: Sequence[str] = ("_target_",)) -> list[str]:
    """Every `_target_` in a configuration, at any depth."""
    if isinstance(config, list):
        return [target for item in config for target in targets_of(item, keys)]
    if not isinstance(config, dict):
        return []
    own = [str(config[key]) for key in keys if config.get(key) is not None and not isinstance(config[key], dict)]
    return own + [target for value in config.values() for target in targets_of(value, keys)]


def is_in(target: str, packages: Sequence[str]) -> bool:
    """Whether a dotted path lies in one of the packages."""
    return any(target == package or target.startswith(f"{package}.") for package in packages)


def check_targets(config: Any, trusted: Sequence[str] = ()) -> None:
    """Refuse targets outside of the packages that a configuration may call, and private ones within.

    Args:
        config: any part of a configuration.
        trusted: packages of the user's own, from `trusted_packages`.

    Raises:
        ValueError: names the target and how to trust its package.
    """
    check_own_packages(trusted)
    allowed = (*TRUSTED_PACKAGES, *trusted)
    for target in targets_of(config):
        if not is_in(target, allowed):
            raise ValueError(
                f"_target_ {target!r} is not in a trusted package ({', '.join(allowed)}); "
                f"if it is your own code, add trusted_packages=[{target.partition('.')[0]}]"
            )
        if any(part.startswith("_") for part in target.split(".")) and not is_in(target, trusted):
            raise ValueError(f"_target_ {target!r} is private to its package; name what the package offers")


def check_own_packages(trusted: Sequence[str]) -> None:
    """Refuse to trust what is nobody's own.

    Raises:
        ValueError: names the package.
    """
    for package in trusted:
        root = str(package).partition(".")[0]
        if not root.isidentifier() or root in sys.stdlib_module_names:
            raise ValueError(f"trusted_packages must name packages of your own, got {package!r}")


def check_trust(config: dict, overrides: Sequence[str]) -> None:
    """A file that could trust itself would protect nobody: who runs it names the packages.

    Args:
        config: resolved.
        overrides: of the command line.

    Raises:
        ValueError: `trusted_packages` was set elsewhere.
    """
    named = any(re.match(r"\+{0,2}trusted_packages=", word) for word in overrides)
    if config["trusted_packages"] and not named:
        packages = ",".join(map(str, config["trusted_packages"]))
        raise ValueError(
            f"trusted_packages must stand on the command line, a file set it: add trusted_packages=[{packages}]"
        )


def load_only_weights() -> None:
    """From here on torch reads files in this process and its children as tensors and plain types, never as code.

    A library, or a configuration that calls one, may ask torch for more; it then gets an error.
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)


def check_hydra(hydra: dict) -> None:
    """Refuse what Hydra itself would call or set on behalf of a file: callbacks, factories of handlers, variables.

    Args:
        hydra: the node `hydra` as it was composed, not resolved.

    Raises:
        ValueError: names it.
    """
    for target in targets_of(hydra):
        if not is_in(target, HYDRA_PACKAGES):
            raise ValueError(f"_target_ {target!r} in hydra must be in one of {', '.join(HYDRA_PACKAGES)}")
    for target in targets_of([hydra.get("job_logging"), hydra.get("hydra_logging")], ("()", "class")):
        if not is_in(target, LOGGING_PACKAGES):
            raise ValueError(
                f"the factory {target!r} in hydra's logging must be in one of {', '.join(LOGGING_PACKAGES)}"
            )
    if variables := hydra.get("job", {}).get("env_set"):
        raise ValueError(f"hydra.job.env_set must be empty, got {', '.join(variables)}: set variables in the shell")
