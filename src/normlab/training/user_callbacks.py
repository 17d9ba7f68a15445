"""The callbacks that a configuration names, in the group `callbacks`."""

import io
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class
from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.callbacks.spike import SpikeDetection

from normlab.config.targets import build
from normlab.messages import first_line
from normlab.training.hooks import (
    STEP_HOOKS,
    VALIDATION_HOOKS,
    Counters,
    call_hook,
    give_batches,
    implements,
)
from normlab.training.tasks import Task

# What normlab does itself, and would not do as these callbacks say.
CHECKPOINTS = "normlab keeps last.ckpt and best.ckpt; see checkpoint.every_n_steps"
AVERAGES = "use trainer.average, whose weights are scored and stored"
REFUSED: dict[type[Callback], str] = {
    lightning.Checkpoint: CHECKPOINTS,
    lightning.OnExceptionCheckpoint: CHECKPOINTS,
    lightning.StochasticWeightAveraging: AVERAGES,
    lightning.WeightAveraging: AVERAGES,
    lightning.ProgressBar: "progress=true shows the progress",
    lightning.GradientAccumulationScheduler: "use trainer.accumulate",
    lightning.LearningRateFinder: "use the command find-lr, which trains no run",
    lightning.BatchSizeFinder: "set dataset.batch_size",
    lightning.BasePredictionWriter: "a run makes no predictions; see normlab.load",
    # A configuration that comes from somebody else must not name a file to write.
    SpikeDetection: "it writes a file where its settings say",
}
NEEDS_LOGGER = (lightning.LearningRateMonitor, lightning.DeviceStatsMonitor)
CHECKPOINT_HOOKS = ("on_save_checkpoint", "on_load_checkpoint")


def build_callbacks(config: dict[str, Any], accelerator: str) -> dict[str, Callback]:
    """Build the callbacks of a configuration.

    Args:
        config: a resolved configuration; `callbacks` and `logger` are read.
        accelerator: of the run's device.

    Returns:
        the callbacks by name.

    Raises:
        ValueError: a callback cannot be built, or would not do what it is for.
    """
    built = {}
    for name, options in (config.get("callbacks") or {}).items():
        place = f"callbacks.{name}"
        _refuse_others_work(place, options)
        try:
            callback = build(options)
        except InstantiationException as error:
            reason = first_line(error.__cause__ or error)
            raise ValueError(f"{place} cannot be built: {reason}") from error
        _check(place, callback, config, accelerator)
        built[name] = callback
    return built


def _refuse_others_work(place: str, options: dict[str, Any]) -> None:
    """Refuse classes whose work normlab does itself, before they are built."""
    target = options.get("_target_")
    if target is None:
        raise ValueError(f"{place} must name its class: {place}._target_=...")
    kind = get_class(target)
    for refused, advice in REFUSED.items():
        if issubclass(kind, refused):
            raise ValueError(f"{place} must not be a {refused.__name__}: {advice}")


def _check(place: str, callback: Any, config: dict[str, Any], accelerator: str) -> None:
    if not isinstance(callback, Callback):
        kind = f"{Callback.__module__}.{Callback.__name__}"
        raise ValueError(
            f"{place}._target_ must be a class derived from {kind}, "
            f"got {type(callback).__name__}"
        )
    if implements(callback, Callback, CHECKPOINT_HOOKS):
        raise ValueError(
            f"{place} has {' or '.join(CHECKPOINT_HOOKS)}, which are never called: "
            f"return what must survive a kill from its state_dict"
        )
    if isinstance(callback, NEEDS_LOGGER) and not config.get("logger"):
        raise ValueError(f"{place} needs a logger: add logger=[tensorboard]")
    if isinstance(callback, lightning.DeviceStatsMonitor):
        reads_cpu = callback._cpu_stats or accelerator == "cpu"
        if reads_cpu and find_spec("psutil") is None:
            raise ValueError(
                f"{place} needs the package psutil, which is not installed: "
                f"pip install psutil"
            )
    plain_states({place: callback})


def attach(
    trainer: pl.Trainer, task: Task, callbacks: Iterable[Callback]
) -> list[Callback]:
    """Let a trainer and a task call the hooks that callbacks or the task implement.

    Args:
        trainer: Lightning's trainer.
        task: the task that it will train.
        callbacks: of the user's own.

    Returns:
        the callbacks that must come before all others.
    """
    owners = [*callbacks, task]
    own_hooks = (*STEP_HOOKS, *VALIDATION_HOOKS)
    if len(owners) == 1 and not implements(task, pl.LightningModule, own_hooks):
        return []
    if want_steps(callbacks, task):
        task.call_hook = partial(call_hook, trainer)
        for owner in owners:
            give_batches(owner)
    return [Counters()]


def want_steps(callbacks: Iterable[Callback], task: Task) -> bool:
    """Whether a hook of a step is implemented, by a callback or by the task."""
    if implements(task, pl.LightningModule, STEP_HOOKS):
        return True
    return any(implements(one, Callback, STEP_HOOKS) for one in callbacks)


def plain_states(callbacks: Mapping[str, Callback]) -> dict[str, Any]:
    """The states of callbacks by name, without those that have none.

    Raises:
        ValueError: a state holds more than tensors and plain types, so that the
            checkpoint could not be read again.
    """
    states = {}
    for name, callback in callbacks.items():
        state = callback.state_dict()
        if not state:
            continue
        file = io.BytesIO()
        try:
            torch.save(state, file)
            file.seek(0)
            torch.load(file, weights_only=True)
        except Exception as error:  # pickle and torch refuse in several ways
            raise ValueError(
                f"the state_dict of {name} must hold tensors and plain types only"
            ) from error
        states[name] = state
    return states


def load_states(
    callbacks: Mapping[str, Callback], state: dict[str, Any] | None
) -> None:
    """Give callbacks the states that a checkpoint holds of them.

    Args:
        callbacks: by name.
        state: the state that a run is resumed from, or None.
    """
    stored = (state or {}).get("callbacks", {})
    for name, callback in callbacks.items():
        if name in stored:
            callback.load_state_dict(stored[name])
