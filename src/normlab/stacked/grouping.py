"""Which runs of a sweep form stacks. Torch is not imported here.

Runs of a stack share the structure of their network, their task and the size of their
batches. They may differ in all that each of them keeps for itself: the seed and what it
draws, the division of the data, the numbers of the optimizer, the schedule, and when
training ends.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from normlab.config.types import is_whole

# Largest number of runs in a stack. More of them hardly gain, and wait for each other.
MOST_RUNS = 64
# Fewest runs of a stack if there would be enough of them for the workers otherwise.
FEWEST_RUNS = 8
AUTO = "auto"

Item = TypeVar("Item")

OPTIMIZERS = ("torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW")
PRECISIONS = ("32-true", "32", 32)
LOGGERS = ("tensorboard", "csv")  # those that keep nothing for the whole process

# What a run of a stack may have for itself, by the group of the configuration.
OWN = {
    "dataset": ("fold", "normalize", "validation", "split", "train_size"),
    "optimizer": ("lr", "momentum", "betas", "weight_decay", "decay_rank_one", "eps"),
}
# Options of `trainer` that stacks do not have: at which value each is off, and why.
OFF: dict[str, tuple[Any, str]] = {
    "average": (None, "has no stacked form"),
    "accumulate": (1, "has no stacked form"),
    "adaptive_clip": (None, "has no stacked form"),
    "max_seconds": (None, "would count the time of others"),
    "detect_anomaly": (False, "names an operation of a single run"),
}
# What makes the blocks of batches or their number; other options of `trainer` are own.
OF_TRAINER = ("limit_batches", "limit_scores", "overfit_batches", "max_samples")
SHARED = ("model", "norm", "reparametrize", "task", "device", "cache_features")


@dataclass(frozen=True)
class Options:
    """How the steps of stacks are made.

    Attributes:
        members: number of runs that make their steps together; `auto` is the fastest
            number that fits into the memory, and trains none if stacks are not faster.
        exact: whether runs are left to be trained alone if the stack would draw other
            random numbers than they do alone.
        compile: whether the steps are compiled, if this makes them faster.
    """

    members: int | str = AUTO
    exact: bool = True
    compile: bool = False


@dataclass(frozen=True)
class Plan:
    """How the runs of a sweep are trained.

    Attributes:
        stacks: the numbers of the runs of every stack.
        alone: why a run is trained by itself, by its number.
    """

    stacks: list[list[int]]
    alone: dict[int, str]

    @property
    def items(self) -> list[list[int]]:
        """The stacks, then every other run by itself."""
        singles = [[number] for number in self.alone]
        return self.stacks + singles


def check_members(members: Any) -> None:
    """Check the option `hydra.launcher.members`.

    Raises:
        ValueError: it is neither `auto` nor a whole number of at least 2.
    """
    if members != AUTO and (not is_whole(members) or members < 2):
        raise ValueError(
            f"hydra.launcher.members must be auto or a whole number of at least 2, "
            f"got {members!r}"
        )


def check_switch(name: str, value: Any) -> None:
    """Check an option of `hydra.launcher` that is on or off.

    Raises:
        ValueError: it is neither true nor false.
    """
    if not isinstance(value, bool):
        raise ValueError(f"hydra.launcher.{name} must be true or false, got {value!r}")


def plan(
    configs: Sequence[dict[str, Any]],
    workers: int,
    members: int | str = AUTO,
) -> Plan:
    """Divide runs into stacks, so that every worker has about as much to do.

    Args:
        configs: checked configurations.
        workers: number of processes that train stacks.
        members: largest number of runs in a stack, or `auto`.

    Raises:
        ValueError: runs use several processes each.
    """
    alone = {}
    groups: dict[str, list[int]] = {}
    for number, config in enumerate(configs):
        check_devices(config)
        reason = why_alone(config)
        if reason is not None:
            alone[number] = reason
            continue
        key = shared_settings(config)
        groups.setdefault(key, []).append(number)
    stacks = []
    for numbers in groups.values():
        if len(numbers) == 1:
            alone[numbers[0]] = "no other run of the sweep shares its network and batch"
            continue
        most = MOST_RUNS if members == AUTO else int(members)
        stacks += _divide(numbers, workers, len(groups), most)
    stacks.sort(key=len, reverse=True)
    return Plan(stacks, dict(sorted(alone.items())))


def _divide(
    numbers: list[int],
    workers: int,
    num_groups: int,
    most: int,
) -> list[list[int]]:
    """Divide the runs of a group into stacks of nearly equal size."""
    count = len(numbers)
    for_workers = min(workers, count // FEWEST_RUNS)
    if num_groups < workers:  # a worker would have nothing to do
        most_parts = min(workers // num_groups, count // 2)
        for_workers = max(for_workers, most_parts)
    return evenly(numbers, most, for_workers)


def evenly(
    items: list[Item],
    most: int,
    fewest_parts: int = 1,
) -> list[list[Item]]:
    """Divide items, in order, into parts that differ in size by one at most.

    Args:
        items: one or more.
        most: largest number of items in a part.
        fewest_parts: smallest number of parts.
    """
    count = len(items)
    parts = math.ceil(count / most)
    parts = max(parts, fewest_parts)
    divided = []
    first = 0
    for part in range(1, parts + 1):
        last = part * count // parts
        divided.append(items[first:last])
        first = last
    return divided


def check_devices(config: dict[str, Any]) -> None:
    """Refuse runs whose batches are divided among processes.

    Raises:
        ValueError: says what to use.
    """
    devices = config["device"]["devices"]
    if devices != 1:
        raise ValueError(
            f"hydra/launcher=stacked needs device.devices=1, got {devices}: a stack "
            f"shares one device; use hydra/launcher=queue"
        )


def shared_settings(config: dict[str, Any]) -> str:
    """What all runs of a stack have in common, as one text.

    Args:
        config: a resolved configuration.
    """
    own = OWN["dataset"]
    if config["task"].get("class_weights") == "balanced":
        own = ()  # the weights of classes follow from the division of the data
    dataset = _without(config["dataset"], own)
    dataset["load"] = _without(dataset["load"], own)
    shared: dict[str, Any] = {
        "dataset": dataset,
        "optimizer": _without(config["optimizer"], OWN["optimizer"]),
    }
    for key in SHARED:
        shared[key] = config.get(key)
    trainer = config["trainer"]
    for key in OF_TRAINER:
        shared[f"trainer.{key}"] = trainer.get(key)
    return json.dumps(shared, sort_keys=True, default=str)


def _without(options: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    kept = dict(options)
    for key in keys:
        kept.pop(key, None)
    return kept


def why_alone(config: dict[str, Any]) -> str | None:
    """Why a run cannot be in a stack, as far as its configuration shows.

    Args:
        config: a resolved configuration.
    """
    device = config["device"]
    loggers = set(config.get("logger") or {})
    target = config["optimizer"]["_target_"]
    trainer = config["trainer"]
    for key, (default, reason) in OFF.items():
        if trainer.get(key, default) != default:
            return f"trainer.{key} {reason}"
    if config.get("callbacks"):
        return "callbacks expect a single network"
    if config.get("trial"):
        return "a search may prune it at any epoch"
    if config["profile"]:
        return "a profile shows a single run"
    if config["task"].get("_target_"):
        return "a task of your own may do anything with its network"
    if not loggers.issubset(LOGGERS):
        return "some of its loggers keep one record for the whole process"
    if device["precision"] not in PRECISIONS:
        return "stacks compute in the precision 32-true"
    if device.get("strategy", "auto") != "auto":
        return f"device.strategy={device['strategy']} trains one network"
    if device["compile"]:
        return "compiled networks have no stacked form"
    if target not in OPTIMIZERS:
        return f"the optimizer {target} has no stacked form"
    return None
