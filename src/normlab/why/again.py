"""Train a stored run again in memory, with stops at which it can be measured.

A run folder holds the best and the last state alone. What happens along training has to
be seen while it happens, so the run is trained once more from its own configuration:
from the same weights, on the same batches in the same order.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from normlab.data.batches import num_batches
from normlab.data.blocks import Block, EvaluationBlocks, Progress, TrainBlocks
from normlab.data.mixing import mixed
from normlab.device.devices import evaluation_context, scoring_device
from normlab.endings import Diverged
from normlab.evaluation.batch_loss import Vector, buffers_of, trained_parameters
from normlab.streams import stream_seed
from normlab.training.evaluation import evaluate
from normlab.training.preparation import Prepared
from normlab.training.scheduling import step_after_batch, step_after_epoch
from normlab.training.tasks import Task


@dataclass(frozen=True)
class Step:
    """One step of the optimizer.

    Attributes:
        number: its number, from 1.
        batch: the batch from which it was made.
        before: the trained parameters before it.
        buffers: all buffers of the network before it.
        after: the trained parameters after it.
        buffers_after: all buffers of the network after it.
    """

    number: int
    batch: Block
    before: Vector
    buffers: Vector
    after: Vector
    buffers_after: Vector


def steps_of_run(config: dict, prepared: Prepared) -> int:
    """Number of steps that the run makes if nothing stops it early.

    Raises:
        ValueError: its steps are no single passes, and cannot be repeated here.
    """
    options = config["trainer"]
    optimizer = prepared.task.build_optimizer(prepared.task.network)
    if options["accumulate"] > 1 or hasattr(optimizer, "perturbed"):
        raise ValueError(
            "a run that is trained again must make its steps from one pass through the "
            "network, without trainer.accumulate and optimizer=sam"
        )
    batch_size = config["dataset"]["batch_size"]
    per_epoch = num_batches(len(prepared.parts.train), batch_size)
    steps: int = options["max_epochs"] * per_epoch
    if options["max_steps"] is not None:
        steps = min(steps, options["max_steps"])
    return steps


def train_again(
    config: dict, prepared: Prepared, num_steps: int, measured: Collection[int]
) -> Iterator[Step]:
    """Train from the start as the run did, and yield some of the steps.

    The run is repeated in one process, without compilation and without early stopping.
    What the caller does to random number generators between steps must be undone.

    Args:
        config: the configuration of the run.
        prepared: its data and its untrained network, which is trained.
        num_steps: number of steps, at most those of the run.
        measured: numbers of the steps to yield, from 1.

    Raises:
        Diverged: a loss is not finite.
    """
    device = scoring_device(prepared.device.accelerator)
    parts = prepared.parts.to(device)
    task = prepared.task
    network = task.network.to(device)
    context = evaluation_context(prepared.device.precision, device)
    optimizer = task.build_optimizer(network)
    if task.build_scheduler is not None:
        task.scheduler = task.build_scheduler(optimizer)
    progress = Progress()
    blocks = TrainBlocks(
        parts.train,
        config["dataset"]["batch_size"],
        config["seed"],
        progress,
        max_steps=1,
    )

    def validation_loss() -> float:
        validation = EvaluationBlocks(parts.validation)
        return evaluate(task, validation, context)["loss"]

    def end_epoch() -> None:
        step_after_epoch(task.scheduler, task.scheduler_interval, validation_loss)

    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(config["seed"], "dropout"))
        batches = mixed(blocks, config["task"], parts.num_outputs)
        for number, batch in _batches(batches, progress, num_steps, end_epoch):
            state = None
            if number in measured:
                state = (trained_parameters(network), buffers_of(network))
            with context():
                loss = task.loss(network(batch.inputs), batch.targets)
            if not loss.isfinite():
                raise Diverged(step=number, loss=float(loss.detach()))
            _make_step(task, optimizer, loss)
            if state is not None:
                after = (trained_parameters(network), buffers_of(network))
                yield Step(number, batch, *state, *after)


def _batches(
    blocks: Iterable[Block],
    progress: Progress,
    num_steps: int,
    end_epoch: Callable[[], None],
) -> Iterator[tuple[int, Block]]:
    """The batches of epoch after epoch, each with its number from 1."""
    while True:
        for batch in blocks:
            progress.steps += 1
            yield progress.steps, batch
            if progress.steps >= num_steps:
                return
        progress.epoch += 1
        end_epoch()


def _make_step(task: Task, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One optimizer step as `Task.training_step` makes it."""
    optimizer.zero_grad()
    loss.backward()
    task.shorten_gradients()
    optimizer.step()
    step_after_batch(task.scheduler, task.scheduler_interval)
