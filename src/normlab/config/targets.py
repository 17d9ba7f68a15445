"""Build the object that a `_target_` names, after it was checked.

A configuration may come from somebody else. What it may call depends on the place: a
module where a model is wanted, an optimizer where an optimizer is wanted. Names are
checked before anything is imported (`trust.py`), objects before anything is called.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

from hydra.utils import get_object, instantiate
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from normlab.config.identity import configuration_directory
from normlab.config.schema import defaults
from normlab.config.trust import (
    OWN_NORM,
    SEARCH_CALLBACK,
    TRUSTED_PACKAGES,
    check_targets,
    is_in,
    placed_targets,
    refuse_interpolations,
    targets_of,
)
from normlab.files import parse_yaml
from normlab.messages import first_line
from normlab.sharing import is_sharing, shared
from normlab.spelling import did_you_mean

# Which class a target at a place must be derived from, and in which group of conf/ it
# may be named instead. The latter is how a new data set or logger is added.
# A class whose package takes seconds to import is named by its path.
PLACES: dict[str, tuple[type | str | None, str | None]] = {
    "model": (nn.Module, "model"),
    "norm": (nn.Module, "norm"),
    "reparametrize": (None, "norm"),
    "optimizer": (Optimizer, "optimizer"),
    "optimizer.base": (Optimizer, None),
    "scheduler": (LRScheduler, "scheduler"),
    "task.loss": (nn.Module, None),
    "dataset.load": (None, "dataset"),
    "logger.*": (None, "logger"),
    "callbacks.*": ("pytorch_lightning.Callback", "callbacks"),
    "task": ("pytorch_lightning.LightningModule", None),
}
# What a place may call in addition.
ALLOWED_TARGETS = (("trial", SEARCH_CALLBACK), ("norm", OWN_NORM))

# Keys of a place that we read ourselves, and those that Hydra reads.
OWN_KEYS = {
    "optimizer": ("weight_decay", "decay_rank_one"),
    "scheduler": ("interval", "warmup_steps", "warmup_epochs"),
}
# Packages whose classes and functions leave their arguments as they are.
SHARED_PACKAGES = ("normlab", "torch")
HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")


def check_homes(config: dict[str, Any]) -> None:
    """Refuse targets that are not what their place is for.

    A target is looked up, but not called.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: names the target and its place, and what the place is for.
    """
    trusted = config["trusted_packages"]
    check_targets(config, trusted)  # by name, before anything is imported
    for place, node in placed_targets(config):
        path = str(node["_target_"])
        found = _find(path)
        if is_in(path, trusted):
            _check_own(place, path, found, trusted)
        else:
            _check_kind(place, path, found)
        _check_arguments(place, node, found)


def _check_own(place: str, path: str, found: Any, trusted: Sequence[str]) -> None:
    """Refuse what a trusted package only imports, except where anybody may name it."""
    own_path = _own_path(path, found)
    if not is_in(own_path, trusted):
        _check_kind(place, own_path, found, f", named {path!r}")


def _own_path(path: str, found: Any) -> str:
    """The path of what a path leads to in the module that defines it.

    An object that is no class and no function belongs to what holds it.
    """
    if isinstance(found, ModuleType):
        return found.__name__
    is_definition = isinstance(found, type) or inspect.isroutine(found)
    if is_definition and not isinstance(found, partial):
        module = getattr(found, "__module__", None)
        return f"{module}.{found.__qualname__}"
    holder, _, name = path.rpartition(".")
    own_holder = _own_path(holder, _find(holder))
    return f"{own_holder}.{name}"


def _check_kind(place: str, path: str, found: Any, remark: str = "") -> None:
    base, group = _allowed(place)
    if group is not None and path in _shipped_targets(group):
        return
    if base is not None and isinstance(found, type) and issubclass(found, base):
        return
    if (place, path) in ALLOWED_TARGETS:
        return
    requirements = []
    if base is not None:
        requirements.append(f"a class derived from {base.__module__}.{base.__name__}")
    if group is not None:
        requirements.append(f"named in conf/{group}")
    requirement = " or ".join(requirements) or "left out: nothing is called there"
    raise ValueError(f"{place}._target_ must be {requirement}, got {path!r}{remark}")


def _check_arguments(place: str, node: dict[str, Any], found: Any) -> None:
    """Refuse arguments that a class or function does not take."""
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):  # some callables written in C have none
        return
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    known = [*parameters, *OWN_KEYS.get(place, ())]
    if place == "task":
        known += defaults()["task"]
    unknown = []
    for key in node:
        if key not in known and key not in HYDRA_KEYS:
            unknown.append(key)
    if not unknown:
        return
    hint = ""
    them = "them"
    if len(unknown) == 1:
        hint = did_you_mean(unknown[0], known)
        them = "it"
    names = ", ".join(map(repr, unknown))
    removed = " ".join(f"~{place}.{key}" for key in unknown)
    raise ValueError(
        f"{place} has {names}, which {node['_target_']} does not take{hint}; "
        f"remove {them} with {removed}"
    )


def _allowed(place: str) -> tuple[type | None, str | None]:
    """The base class and the group of a place; of unknown places neither."""
    parent, _, _ = place.rpartition(".")
    any_child = f"{parent}.*"
    key = any_child if any_child in PLACES else place
    if key in PLACES:
        base, group = PLACES[key]
        if isinstance(base, str):
            base = get_object(base)
        return base, group
    if place.startswith(("model.", "norm.")):  # modules may be arguments, at any depth
        return nn.Module, None
    return None, None


@cache
def _shipped_targets(group: str) -> frozenset[str]:
    """What the files of a group in our own conf/ call."""
    folder = configuration_directory() / group
    targets: set[str] = set()
    for file in folder.glob("*.yaml"):
        content = parse_yaml(file.read_text())
        targets |= set(targets_of(content))
    return frozenset(targets)


def _find(path: str) -> Any:
    try:
        return get_object(path)
    except (ImportError, ValueError) as error:
        why = _first_cause(error)
        package, _, _ = path.partition(".")
        if is_in(package, TRUSTED_PACKAGES) and f"named '{package}'" in why:
            raise ValueError(
                f"{path} needs the package {package}: pip install {package}"
            ) from error
        raise ValueError(
            f"_target_ {path!r} cannot be found: {why}; code of your own must be "
            f"installed, or lie in the working folder or beside --config-dir"
        ) from error


def _first_cause(error: BaseException) -> str:
    """What Python said first, in one line: Hydra wraps it in sentences of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def builder(config: dict[str, Any]) -> Callable[..., Any]:
    """A function from further arguments to what a node without `_partial_` names."""
    if is_sharing():
        return build_once(config | {"_partial_": True})
    return partial(build, config)


def build_once(config: dict[str, Any]) -> Any:
    """`build`, once for all runs that share their work if nothing can differ.

    This holds for functions and classes of ours and of PyTorch that wait for further
    arguments. Modules among the arguments in the node belong to one run.
    """
    names = list(targets_of(config))
    is_ours = len(names) == 1 and is_in(names[0], SHARED_PACKAGES)
    if is_ours and config.get("_partial_"):
        return shared("built", config, partial(_built, config))
    return build(config)


def _built(config: dict[str, Any]) -> Any:
    """`build` without the checks that Hydra makes at every call of a partial.

    They take as long as building a small network. The class was checked when it was
    found, and code of ours adds the other arguments.
    """
    built = build(config)
    if isinstance(built, partial) and isinstance(built.func, type):
        return partial(built.func, *built.args, **built.keywords)
    return built


def build(config: dict[str, Any], **arguments: Any) -> Any:
    """Hydra's `instantiate`, with plain lists and dicts for arguments.

    Args:
        config: a resolved node with a `_target_`. Hydra would resolve interpolations
            once more, after the check, so there must be none.
        arguments: of the call, beside those in `config`.
    """
    refuse_interpolations(config)
    return instantiate(config, **arguments, _convert_="all")
