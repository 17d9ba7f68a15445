"""Train a prepared run in this process, from its start or from its last checkpoint."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from normlab import signals
from normlab.data.blocks import MAX_BATCHES_PER_BLOCK, EvaluationBlocks, TrainBlocks
from normlab.data.mixing import mixed
from normlab.data.parts import Parts
from normlab.device.devices import Device, evaluation_context
from normlab.endings import Diverged
from normlab.streams import seed_generators, stream_seed
from normlab.training.averaging import Averaging, build_averaging, number_averaged
from normlab.training.callbacks import Scoring
from normlab.training.checkpoint_files import load_latest, print_warning
from normlab.training.checkpoints import resumed_progress
from normlab.training.compilation import compile_network
from normlab.training.hooks import Validation
from normlab.training.limits import MAX_EPOCHS
from normlab.training.log_files import truncate_logs
from normlab.training.preparation import Prepared, prepare
from normlab.training.recalibrated_scores import recalibrated_scores
from normlab.training.recalibration import training_batches
from normlab.training.tasks import Task
from normlab.training.together import STACK
from normlab.training.trainer import (
    build_checkpoints,
    build_limits,
    build_loop,
    build_trainer,
    callbacks_after_scoring,
    count_epochs,
    quiet_lightning,
    set_callbacks,
)
from normlab.training.user_callbacks import attach, load_states, want_steps

# What happens in an epoch, in this order:
#
# 1. A signal that came while the previous epoch ended is handled (callbacks.py).
# 2. The order of the samples and all random draws of the augmentation are made for the
#    whole epoch, and the samples come in blocks of several batches (data/blocks.py).
# 3. `training_step` takes one block and makes an optimizer step per batch, or per
#    `trainer.accumulate` batches (steps.py); it adds up the training scores on the
#    device (tasks.py).
# 4. After each block: the last step or second may end the epoch (limits.py), the
#    progress bar moves, a checkpoint is written if `checkpoint.every_n_steps` asks for
#    it, and a signal stops the run.
# 5. At the end, an average of the weights gets its running statistics (averaging.py);
#    validation is scored and the scheduler steps (`Scoring`, tasks.py); it may be
#    scored once more by recalibrated statistics (recalibrated_scores.py);
#    norm statistics are recorded (norm_statistics.py); `metrics.csv` and the loggers
#    get a row; the best state is kept in memory, a checkpoint is written, and training
#    stops early if nothing improves or a value is reached (checkpoints.py); a search
#    may prune the run.
#
# Lightning runs this loop and calls the callbacks. It moves the network to the device
# and wraps it for mixed precision and for several processes. It does not make the
# optimizer steps, validate, log, write checkpoints or stop early. For runs that train
# together, loop.py takes its place.


def fit(config: dict, prepared: Prepared, folder: Path) -> dict[str, Any]:
    """Train and report how it ended.

    Args:
        config: a resolved configuration.
        prepared: the objects of the run.
        folder: the run folder, in which checkpoints are looked for.

    Returns:
        tensors and plain types only, so that a process can hand them to another:
        `progress` (a `Progress`), `best` (see `Checkpoints`), `diverged` (None, or what
        it adds to the result), `ended_by` (the setting of `trainer` that ended
        training, None if it diverged), `num_averaged` (number of weights in the average
        that was scored, None if weights were not averaged), `speed` (see `Scoring`),
        `stacked` (number of runs that were trained together, None for a run by itself),
        `draws_together` (whether random numbers of its steps are the stack's) and
        `compiled_stack` (whether the steps of the stack were compiled).
    """
    task = prepared.task
    state = load_latest(folder / "checkpoints", task)
    task.progress = resumed_progress(state)
    task.stack = STACK.get()
    checkpoints = build_checkpoints(config, task.metric_names, folder, state)
    build = build_trainer if task.stack is None else build_loop
    trainer: Any = build(config, prepared.device, folder, task.progress.epoch)
    parts = prepared.parts.to(trainer.strategy.root_device)
    task.build_averaging = _averaging_builder(config, prepared, parts, trainer)
    scoring = _build_scoring(config, prepared.device, parts, trainer)
    others = callbacks_after_scoring(config, prepared, checkpoints, folder)
    own = list(prepared.callbacks.values())
    task.publishes = bool(own) or config["task"].get("_target_") is not None
    first = attach(trainer, task, own)
    if first:
        scoring.validation = Validation(scoring.validation, trainer)
    load_states(prepared.callbacks, state)
    checkpoints.callbacks = prepared.callbacks
    limits = build_limits(config["trainer"])
    set_callbacks(trainer, [*limits, *first, scoring, *own, *others])
    if trainer.is_global_zero:
        _cut_back_logs(folder, state or {})

    seed_generators(stream_seed(config["seed"], "dropout"))
    diverged = None
    num_averaged = None
    try:
        if state is not None and state["ended"]:  # only its scores are missing
            checkpoints.best = state["best"]
            task.ended_by = state.get("ended_by")
            num_averaged = number_averaged(state)
        else:
            largest_block = config["checkpoint"]["every_n_steps"]
            if want_steps(own, task):
                largest_block = 1
            run_trainer(config, prepared.device, trainer, task, parts, largest_block)
            if task.averaging is not None:
                num_averaged = task.averaging.num_averaged
    except Diverged as error:
        diverged = _describe_divergence(error, task)
    return {
        "progress": asdict(task.progress),
        "best": checkpoints.best,
        "diverged": diverged,
        "ended_by": None if diverged else task.ended_by or MAX_EPOCHS,
        "num_averaged": num_averaged,
        "speed": scoring.speed(task),
        "stacked": None if task.stack is None else task.stack.members,
        "draws_together": task.stack is not None and task.stack.draws_together,
        "compiled_stack": task.stack is not None and task.stack.is_compiled,
    }


def prepare_and_fit(config: dict, folder: Path) -> dict[str, Any]:
    """`fit` in one of several processes, each with its own data and network."""
    return fit(config, prepare(config), folder)


def _averaging_builder(
    config: dict, prepared: Prepared, parts: Parts, trainer: pl.Trainer
) -> Callable[..., Averaging | None]:
    """A function from the network and its optimizer to the average of its weights."""
    options = config["trainer"]
    batches = partial(
        training_batches,
        config,
        parts.train,
        options.get("average_batches", 1),
        trainer.global_rank,
        trainer.world_size,
    )
    precision = prepared.device.precision
    return partial(
        build_averaging,
        options=options,
        epochs=count_epochs(config, prepared),
        batches=batches,
        context=evaluation_context(precision, trainer.strategy.root_device),
        world_size=trainer.world_size,
    )


def run_trainer(
    config: dict,
    device: Device,
    trainer: pl.Trainer,
    task: Task,
    parts: Parts,
    largest_block: int | None,
) -> None:
    """Train a task until its trainer ends.

    Args:
        config: a resolved configuration.
        device: the device settings of the run.
        trainer: with all its callbacks.
        task: at the position from which training goes on.
        parts: the data, on the device.
        largest_block: largest number of optimizer steps in a block; None takes as many
            as are fast.
    """
    blocks = TrainBlocks(
        parts.train,
        config["dataset"]["batch_size"],
        config["seed"],
        task.progress,
        max_steps=largest_block or MAX_BATCHES_PER_BLOCK,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        accumulate=config["trainer"].get("accumulate", 1),
        last_step=config["trainer"].get("max_steps"),
        sharers=1 if task.stack is None else task.stack.members,
    )
    if device.compile:
        mode = None if device.compile is True else device.compile
        compile_network(task.network, mode)
        task.reuses_outputs = True
    batches = mixed(blocks, config["task"], parts.num_outputs)
    with quiet_lightning(), signals.restored():
        trainer.fit(task, train_dataloaders=batches)


def _cut_back_logs(folder: Path, state: dict[str, Any]) -> None:
    lengths = state.get("logs", {})
    digests = state.get("log_digests", {})
    truncate_logs(folder, lengths, digests, print_warning)


def _build_scoring(
    config: dict, device: Device, parts: Parts, trainer: pl.Trainer
) -> Scoring:
    """The callback that scores the parts after every epoch that the run asks for."""
    share = (trainer.global_rank, trainer.world_size)
    validation = EvaluationBlocks(parts.validation, *share)
    context = evaluation_context(device.precision, trainer.strategy.root_device)
    test = None
    if config["trainer"].get("test_every_epoch"):
        test = EvaluationBlocks(parts.test, *share)
    second = None
    num_batches = config["trainer"].get("recalibration_batches")
    if num_batches is not None:
        batches = partial(training_batches, config, parts.train, num_batches, *share)
        second = partial(
            recalibrated_scores,
            validation=validation,
            batches=batches,
            context=context,
        )
    return Scoring(validation, context, test, second)


def _describe_divergence(error: Diverged, task: Task) -> dict[str, Any]:
    """What divergence adds to a result: the metrics are those of the last epoch."""
    metrics = {
        name: value
        for name, value in task.metrics.items()
        if name.startswith(("train/", "val/"))
    }
    return {
        "reason": str(error),
        "diverged_at_step": error.step,
        "last_finite_loss": error.last_loss,
        "metrics": metrics,
    }
