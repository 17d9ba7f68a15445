"""What a configuration may call: packages that are trusted, and what is refused."""

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

# Of normlab only what people add to: the rest of it also starts programs and writes files.
# The one class is what a search lets its runs report to.
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
# What Hydra builds before it hands over a configuration.
HYDRA_PACKAGES = (
    "hydra_plugins",
    "hydra._internal.core_plugins",
    "optuna.samplers",
    "optuna.pruners",
)
LOGGING_PACKAGES = ("logging", "colorlog")


def targets_of(config: Any, keys: Sequence[str] = ("_target_",)) -> list[str]:
    """Every `_target_` in a configuration, at any depth."""
    if isinstance(config, list):
        return [target for item in config for target in targets_of(item, keys)]
    if not isinstance(config, dict):
        return []
    own = [
        str(config[key])
        for key in keys
        if config.get(key) is not None and not isinstance(config[key], dict)
    ]
    return own + [
        target for value in config.values() for target in targets_of(value, keys)
    ]


def is_in(target: str, packages: Sequence[str]) -> bool:
    """Whether a dotted path lies in one of the packages."""
    return any(
        target == package or target.startswith(f"{package}.") for package in packages
    )


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
        if any(part.startswith("_") for part in target.split(".")) and not is_in(
            target, trusted
        ):
            raise ValueError(
                f"_target_ {target!r} is private to its package; name what the package offers"
            )


def check_own_packages(trusted: Sequence[str]) -> None:
    """Refuse to trust what is nobody's own.

    Raises:
        ValueError: names the package.
    """
    for package in trusted:
        root = str(package).partition(".")[0]
        if not root.isidentifier() or root in sys.stdlib_module_names:
            raise ValueError(
                f"trusted_packages must name packages of your own, got {package!r}"
            )


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
            raise ValueError(
                f"_target_ {target!r} in hydra must be in one of {', '.join(HYDRA_PACKAGES)}"
            )
    for target in targets_of(
        [hydra.get("job_logging"), hydra.get("hydra_logging")], ("()", "class")
    ):
        if not is_in(target, LOGGING_PACKAGES):
            raise ValueError(
                f"the factory {target!r} in hydra's logging must be in one of {', '.join(LOGGING_PACKAGES)}"
            )
    if variables := hydra.get("job", {}).get("env_set"):
        raise ValueError(
            f"hydra.job.env_set must be empty, got {', '.join(variables)}: set variables in the shell"
        )
