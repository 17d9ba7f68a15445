"""What a configuration may call, and what is refused by name before it is called."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

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


def placed_targets(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place that has a `_target_`, such as `model.hidden[0]`, and its node.

    Args:
        node: any part of a configuration.
        place: where it stands.
    """
    if isinstance(node, dict):
        if node.get("_target_") is not None:
            yield place, node
        for key, value in node.items():
            below = f"{place}.{key}" if place else str(key)
            yield from placed_targets(value, below)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            below = f"{place}[{index}]"
            yield from placed_targets(value, below)


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


def check_trust(config: dict[str, Any], words: Sequence[str]) -> None:
    """Refuse trust that the command line did not give.

    A file that could trust its own code would protect nobody, so only the person who
    types the command names trusted packages.

    Args:
        config: the resolved configuration.
        words: the overrides of the command line.

    Raises:
        ValueError: `trusted_packages` was set in a file.
    """
    packages = [str(package) for package in config["trusted_packages"] or ()]
    typed = " ".join(typed_texts("trusted_packages", words))
    names = re.findall(r"[\w.]+", typed)
    if not set(packages) <= set(names):
        refuse_file("trusted_packages", f"[{','.join(packages)}]")


def refuse_untyped(key: str, words: Sequence[str]) -> None:
    """Refuse the value of a key unless a word of the command line sets the key.

    Args:
        key: with dots.
        words: the overrides of the command line.

    Raises:
        ValueError: names the key.
    """
    if not typed_texts(key, words):
        refuse_file(key, "VALUE")


def refuse_file(key: str, value: str) -> NoReturn:
    """Refuse what only the command line may set; `value` is what it would say."""
    raise ValueError(
        f"{key} must be given on the command line, a file set it: add {key}={value}"
    )


def typed_texts(key: str, words: Sequence[str]) -> list[str]:
    """The values that words such as `key=value` and `++key=value` give a key.

    Args:
        key: with dots or slashes.
        words: the overrides of the command line.
    """
    values = []
    for word in words:
        name, sign, value = word.partition("=")
        if sign and name in (key, f"+{key}", f"++{key}"):
            values.append(value)
    return values


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
