"""What a configuration may call, and what is refused by name before it is called."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

# The class by which a run reports to a search.
SEARCH_CALLBACK = "normlab.search.pruning.ReportToTrial"
# What finds a norm of the user's own, by name and digest: it cannot bring the code.
OWN_NORM = "normlab.norms.own.own_norm"
# The environment variable by which processes of this one find such norms.
OWN_NORMS_VARIABLE = "NORMLAB_OWN_NORMS"
# Of normlab only what people add to is trusted, since the rest of it also starts
# programs and writes files.
TRUSTED_PACKAGES = (
    "normlab.callbacks",
    "normlab.data",
    "normlab.loggers",
    "normlab.models",
    "normlab.norms",
    "normlab.optimizers",
    SEARCH_CALLBACK,
    "torch.nn",
    "torch.optim",
    "torchvision",
    "timm",
    "schedulefree",
    "pytorch_lightning",
)
# What Hydra builds itself, before it hands over a configuration.
HYDRA_PACKAGES = (
    "hydra_plugins",
    "hydra._internal.core_plugins",
    "optuna.samplers",
    "optuna.pruners",
)
# Of Hydra's own options for Python's logging, those that write no files.
HARMLESS_LOGGING = ("none", "disabled", "stdout")
# Environment variables by which `guard_process` reaches the processes of this one.
GUARDS = (
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
    "PYTHONSAFEPATH",
)


class OwnNormError(ValueError):
    """A mistake in a norm of the user's own; the message names the norm."""


def targets_of(config: Any, keys: Sequence[str] = ("_target_",)) -> Iterator[str]:
    """Every `_target_` in a configuration, at any depth.

    Args:
        config: any part of a configuration.
        keys: names under which a target may stand.
    """
    if isinstance(config, list):
        for item in config:
            yield from targets_of(item, keys)
    elif isinstance(config, dict):
        for key in keys:
            target = config.get(key)
            if target is not None and not isinstance(target, dict):
                yield str(target)
        for value in config.values():
            yield from targets_of(value, keys)


def is_in(target: str, packages: Sequence[str]) -> bool:
    """Whether a dotted path names one of the packages or something inside of one."""
    return any(f"{target}.".startswith(f"{package}.") for package in packages)


def check_targets(config: Any, trusted: Sequence[str] = ()) -> None:
    """Refuse targets outside of the trusted packages, and private ones inside of them.

    Args:
        config: any part of a configuration.
        trusted: packages of the user's own, from `trusted_packages`.

    Raises:
        ValueError: names the target and says how to trust its package.
    """
    check_own_packages(trusted)
    allowed = (*TRUSTED_PACKAGES, *trusted)
    for target in targets_of(config):
        if not is_in(target, allowed):
            package, _, _ = target.partition(".")
            raise ValueError(
                f"_target_ {target!r} is not in a trusted package "
                f"({', '.join(allowed)}); "
                f"if it is your own code, add trusted_packages=[{package}]"
            )
        is_private = any(part.startswith("_") for part in target.split("."))
        if is_private and not is_in(target, trusted):
            raise ValueError(
                f"_target_ {target!r} is private to its package; "
                f"name what the package offers"
            )


def check_own_packages(trusted: Sequence[str]) -> None:
    """Refuse to trust the standard library, or what is no name of a package.

    Raises:
        ValueError: names the package.
    """
    for package in trusted:
        root = str(package).partition(".")[0]
        if not root.isidentifier() or root in sys.stdlib_module_names:
            raise ValueError(
                f"trusted_packages must name packages of your own, got {package!r}"
            )


def check_trust(config: dict[str, Any], overrides: Sequence[str]) -> None:
    """Refuse trust that the command line did not give.

    A file that could trust its own code would protect nobody, so only the person who
    types the command names trusted packages.

    Args:
        config: the resolved configuration.
        overrides: the overrides of the command line.

    Raises:
        ValueError: `trusted_packages` was set in a file.
    """
    typed = any(re.match(r"\+{0,2}trusted_packages=", word) for word in overrides)
    if config["trusted_packages"] and not typed:
        named = map(str, config["trusted_packages"])
        packages = ",".join(named)
        raise ValueError(
            f"trusted_packages must be given on the command line, a file set it: "
            f"add trusted_packages=[{packages}]"
        )


def guard_process() -> None:
    """Keep code out that nobody trusts, from this process and those that it starts.

    torch reads files as tensors and plain types only, never as code; if a library asks
    it for more, it gets an error. Processes of Python find no modules in the working
    folder, which may be that of somebody else.
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["PYTHONSAFEPATH"] = "1"


def refuse_interpolations(config: Any, place: str = "") -> None:
    """Refuse `${` in any text of a resolved configuration.

    Whoever resolves the configuration again, as Hydra does before it calls a target,
    would otherwise get another one than was checked.

    Args:
        config: any part of a resolved configuration.
        place: where the part stands, for the message.

    Raises:
        ValueError: names the place.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            refuse_interpolations(key, place)
            below = f"{place}.{key}" if place else str(key)
            refuse_interpolations(value, below)
    elif isinstance(config, list):
        for index, value in enumerate(config):
            refuse_interpolations(value, f"{place}[{index}]")
    elif isinstance(config, str) and "${" in config:
        raise ValueError(
            f"{place or 'a text'} must not contain '${{' once it is resolved, "
            f"got {config!r}"
        )


def check_hydra(config: DictConfig) -> None:
    """Refuse what Hydra itself would call, set or write because a file says so.

    These are callbacks, handlers of logging, environment variables, and the targets of
    launcher and sweeper, whose interpolations are resolved first.

    Args:
        config: the composed configuration with its node `hydra`. `HydraConfig` must
            hold it, since interpolations refer to that.

    Raises:
        ValueError: names what was refused.
    """
    hydra = config.hydra
    for group in ("job_logging", "hydra_logging"):
        content = OmegaConf.to_container(hydra[group], resolve=False)
        if content not in _harmless_logging(group):
            raise ValueError(
                f"hydra/{group} must be one of {', '.join(HARMLESS_LOGGING)}, as Hydra "
                f"has them: other handlers can write any file"
            )
    _refuse_value("hydra.callbacks", hydra.callbacks)
    _refuse_value("hydra.job.env_set", hydra.job.env_set)
    _refuse_value("hydra.output_subdir", hydra.output_subdir)
    for name in ("launcher", "sweeper"):
        node = OmegaConf.to_container(hydra[name], resolve=True)
        refuse_interpolations(node, f"hydra.{name}")
        for target in targets_of(node):
            if not is_in(target, HYDRA_PACKAGES):
                raise ValueError(
                    f"_target_ {target!r} in hydra.{name} must be in one of "
                    f"{', '.join(HYDRA_PACKAGES)}"
                )


def _refuse_value(key: str, value: Any) -> None:
    if value:
        raise ValueError(f"{key} must be empty, got {value!s}")


def _harmless_logging(group: str) -> list[Any]:
    """The contents of Hydra's own files for a group of logging."""
    package = resources.files("hydra.conf.hydra")
    contents = []
    for name in HARMLESS_LOGGING:
        file = package / group / f"{name}.yaml"
        if file.is_file():
            content = yaml.safe_load(file.read_text())
            contents.append(content)
    return contents
