"""Whether the content of a checkpoint is the state of a run, and of this one.

A file may be intact and hold something else: the state of another run, or values of
other types than a run stores. What is refused here is not resumed from: the checkpoint
before it is tried instead.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab.data.blocks import Progress
from normlab.training.tasks import Task

# By these keys the state of a run is recognized.
STATE_KEYS = {
    *("ended", "progress", "network", "optimizer", "scheduler"),
    *("random", "metrics", "best", "logs"),
}


class OfAnotherVersion(ValueError):
    """A state is intact, and this version of the program would continue otherwise."""


def check_state(state: Any, path: Path, task: Task | None = None) -> dict[str, Any]:
    """Return a state if the run in whose folder it was found can resume from it.

    Args:
        state: the content of a checkpoint.
        path: its file.
        task: the task of the run, whose network and optimizer the state must fit; with
            None only the types are checked.

    Raises:
        ValueError: it is the state of another run, or of none, or it is damaged.
    """
    run = path.parents[1].name
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise ValueError(
            f"checkpoint {path} is not the state of a run; "
            f"delete it or name another one"
        )
    if state.get("run", run) != run:
        raise ValueError(
            f"checkpoint {path} is of the run {state['run']}; "
            f"delete it or name another one"
        )
    try:
        _check_types(state)
        if task is not None:
            _check_fit(state, task)
    except OfAnotherVersion as error:
        raise ValueError(
            f"checkpoint {path} is of another version: {error}; delete it, or finish "
            f"the run with that version"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"checkpoint {path} is damaged: {error}; delete it or name another one"
        ) from error
    return state


def _check_types(state: dict[str, Any]) -> None:
    """Check the types of what a state holds, apart from what depends on the network."""
    example: dict[str, Any] = {
        "ended": False,
        "progress": asdict(Progress()),
        "network": {},
        "optimizer": {"state": {}, "param_groups": []},
        "random": {"cpu": None, "cuda": []},
        "metrics": {},
        "best": {"epoch": 0, "value": 0.0, "metrics": {}, "network": {}},
        "logs": {},
    }
    for key, expected in example.items():
        check_alike(expected, state[key], key)
    unknown = state["progress"].keys() - example["progress"].keys()
    if unknown:
        raise ValueError(f"progress holds an unknown {', '.join(map(str, unknown))}")

    check_all([state["random"]["cpu"]], Tensor, "random.cpu")
    for row in torch.atleast_2d(state["random"]["cpu"]):  # one per process
        check_alike(torch.get_rng_state(), row, "random.cpu")
    check_all(state["random"]["cuda"], Tensor, "random.cuda")
    check_all(state["metrics"].values(), int | float, "metrics")
    check_all(state["best"]["metrics"].values(), int | float, "best.metrics")
    check_all(state["logs"].values(), int, "logs")
    digests = state.get("log_digests", {})
    check_alike({}, digests, "log_digests")
    check_all(digests.values(), str, "log_digests")
    callbacks = state.get("callbacks", {})
    check_alike({}, callbacks, "callbacks")
    check_all(callbacks.values(), dict, "callbacks")
    check_all([state["scheduler"]], dict | None, "scheduler")
    check_all([state.get("train_sums")], Tensor | None, "train_sums")
    if "unfinished_block" in state:
        block = state["unfinished_block"]
        check_alike({"losses": None, "predictions": None}, block, "unfinished_block")
        check_all(block.values(), Tensor, "unfinished_block")


def _check_fit(state: dict[str, Any], task: Task) -> None:
    """Check that a state can be put into the network and optimizer of a task."""
    network = task.network.state_dict()
    _check_network(network, state["network"], "network")
    average = state.get("average")
    if average is not None:
        check_alike({"network": {}, "num_averaged": 0}, average, "average")
        _check_network(network, average["network"], "average.network")
    if state["best"]["network"]:  # empty before the first epoch has ended
        _check_network(network, state["best"]["network"], "best.network")

    if (state["scheduler"] is None) != (task.build_scheduler is None):
        raise ValueError("scheduler must be stored if the run has one, and only then")
    try:
        optimizer = task.build_optimizer(task.network)
    except (RuntimeError, TypeError, ValueError):
        return  # an optimizer that can only be built on its GPU; it is not checked
    if task.build_scheduler is not None:
        expected = task.build_scheduler(optimizer).state_dict()
        check_alike(expected, state["scheduler"], "scheduler", exact=False)
    _check_optimizer(optimizer.state_dict(), state["optimizer"])


def _check_network(
    expected: Mapping[str, Any], found: Mapping[str, Any], name: str
) -> None:
    differing = sorted(map(str, expected.keys() ^ found.keys()))
    if differing:
        raise ValueError(
            f"{name} must be the network of the run, {differing[0]} differs"
        )
    check_alike(expected, found, name)


def _check_optimizer(expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Check the options of every group, and that every parameter has a state.

    Parameters are numbered, or named in a sharded network.
    """
    groups = found["param_groups"]
    check_all(groups, dict, "optimizer.param_groups")
    sizes = _sizes(groups)
    wanted = _sizes(expected["param_groups"])
    if sum(sizes) == sum(wanted) and sizes != wanted:
        raise OfAnotherVersion(
            f"its optimizer divides the parameters into groups of "
            f"{', '.join(map(str, sizes))}, now they are groups of "
            f"{', '.join(map(str, wanted))}"
        )
    if len(groups) != len(expected["param_groups"]):
        raise ValueError(
            f"optimizer must have {len(expected['param_groups'])} groups of "
            f"parameters, got {len(groups)}"
        )
    for fresh, group in zip(expected["param_groups"], groups, strict=True):
        check_alike(fresh, group, "optimizer.param_groups", exact=False)
        if len(group.get("params", ())) != len(fresh["params"]):
            raise ValueError("optimizer must have the parameters of the network")
    check_all(found["state"].values(), dict, "optimizer.state")
    for values in found["state"].values():
        kinds = Tensor | int | float | list | tuple | dict | None
        check_all(values.values(), kinds, "optimizer.state")


def _sizes(groups: Iterable[Mapping[str, Any]]) -> list[int]:
    """How many parameters each group of an optimizer has, as far as it says."""
    found = [group.get("params") for group in groups]
    return [len(params) for params in found if isinstance(params, list | tuple)]


def check_alike(expected: Any, found: Any, name: str, exact: bool = True) -> None:
    """Refuse a value that is of another kind than the expected one.

    Dictionaries are compared key by key, tensors by shape and type, everything else by
    its type. None stands for any value.

    Args:
        expected: an example.
        found: the value.
        name: what the value is called in the message.
        exact: whether all keys must be there and whole numbers must be whole. Other
            versions of PyTorch store other keys of optimizers and schedulers.

    Raises:
        ValueError: says what differs.
    """
    if expected is None or (found is None and not exact):
        return
    is_right = _kind(expected, exact) == _kind(found, exact)
    if _kind(expected, exact) == "float" and exact:
        is_right = _kind(found, exact) in ("float", "int")
    if not is_right:
        raise ValueError(
            f"{name} must be {_kind(expected, exact)}, got {_kind(found, exact)}"
        )
    if not isinstance(expected, Mapping):
        return
    for key, value in expected.items():
        if key in found:
            check_alike(value, found[key], f"{name}.{key}", exact)
        elif exact:
            raise ValueError(f"{name} must hold {key}")


def _kind(value: Any, exact: bool) -> str:
    """What a value is, in words."""
    if isinstance(value, Tensor):
        size = " x ".join(map(str, value.shape)) or "one number"
        return f"a tensor of {value.dtype}, {size}"
    if isinstance(value, Mapping):
        return "dict"
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, int | float) and not isinstance(value, bool) and not exact:
        return "number"
    return type(value).__name__


def check_all(values: Iterable[Any], kind: Any, name: str) -> None:
    """Refuse values that are no instances of a type, or of one of several.

    Raises:
        ValueError: names the type that was found.
    """
    for value in values:
        if not isinstance(value, kind):
            wanted = getattr(kind, "__name__", str(kind))
            raise ValueError(f"{name} must hold {wanted}, got {type(value).__name__}")
