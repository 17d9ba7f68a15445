"""What a configuration may call, and what is refused by name before it is called."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

# Of normlab only what people add to is trusted, since the rest of it also starts
# programs and writes files. The one class lets a run report to a search.
TRUSTED_PACKAGES = (
    "normlab.data",
    "normlab.loggers",
    "normlab.models",
    "normlab.norms",
    "normlab.search.pruning.ReportToTrial",
    "torch.nn",
    "torch.optim",
    "torchvision",
    "timm",
    "pytorch_lightning",
)
# What Hydra builds itself, before it hands over a configuration.
HYDRA_PACKAGES = (
    "hydra_plugins",
    "hydra._internal.core_plugins",
    "optuna.samplers",
    "optuna.pruners",
)
LOGGING_PACKAGES = ("logging", "colorlog")


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
            package = target.partition(".")[0]
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
        packages = ",".join(map(str, config["trusted_packages"]))
        raise ValueError(
            f"trusted_packages must be given on the command line, a file set it: "
            f"add trusted_packages=[{packages}]"
        )


def load_only_weights() -> None:
    """Make torch read files as tensors and plain types only, never as code.

    This holds for the process and its children. If a library asks torch for more, it
    gets an error.
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)


def check_hydra(hydra: dict[str, Any]) -> None:
    """Refuse what Hydra itself would call or set because a file says so.

    These are callbacks, factories of logging handlers, and environment variables.

    Args:
        hydra: the node `hydra` as it was composed, not resolved.

    Raises:
        ValueError: names what was refused.
    """
    for target in targets_of(hydra):
        if not is_in(target, HYDRA_PACKAGES):
            raise ValueError(
                f"_target_ {target!r} in hydra must be in one of "
                f"{', '.join(HYDRA_PACKAGES)}"
            )
    logging_nodes = [hydra.get("job_logging"), hydra.get("hydra_logging")]
    for factory in targets_of(logging_nodes, ("()", "class")):
        if not is_in(factory, LOGGING_PACKAGES):
            raise ValueError(
                f"the factory {factory!r} in hydra's logging must be in one of "
                f"{', '.join(LOGGING_PACKAGES)}"
            )
    variables = hydra.get("job", {}).get("env_set")
    if variables:
        raise ValueError(
            f"hydra.job.env_set must be empty, got {', '.join(variables)}: "
            f"set variables in the shell"
        )
