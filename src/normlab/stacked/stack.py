"""The optimizer steps of several runs, made as those of one network.

Shapes: K runs, B samples in a batch, S batches in a block.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from normlab.stacked.network import stack_networks
from normlab.stacked.optimizers import KINDS, clip
from normlab.training.tasks import Task
from normlab.training.together import Answer, Request
from normlab.training.warmup import Warmup


@dataclass(frozen=True)
class Batch:
    """What some runs of a stack are trained on in one step.

    Attributes:
        inputs: ``(k, B, ...)``.
        learned: what the networks learn of each sample ``(k, B)``.
        chosen: numbers of the runs ``(k,)``; None if they are all.
    """

    inputs: Tensor
    learned: Tensor
    chosen: Tensor | None = None


class Made(NamedTuple):
    """What steps of some runs gave.

    Attributes:
        numbers: of the runs.
        losses: mean loss of every batch ``(k, S)``.
        predictions: of their samples ``(k, S * B, num_outputs)``.
    """

    numbers: Iterable[int]
    losses: Tensor
    predictions: Tensor


class Stack:
    """Runs whose networks have one structure.

    From its construction on, the parameters and buffers of the networks and the state
    of their optimizers are views of tensors in which they lie side by side.

    Args:
        tasks: of the runs; all have their optimizer.

    Attributes:
        network: the stacked network.
        optimizer: the stacked optimizer.
        limits: largest norm of the gradient of each run, or None.
        moves: whether the learning rate of each run may change within an epoch.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.network = stack_networks([task.network for task in tasks])
        optimizers = [task.trainer.optimizers[0] for task in tasks]
        parameters = []
        for task in tasks:
            network = task.network
            names = self.network.names
            parameters.append([network.get_parameter(name) for name in names])
        weights = self.network.weights
        kind = KINDS[type(optimizers[0])]
        self.optimizer = kind(optimizers, parameters, weights)
        self.limits = [task.gradient_clip for task in tasks]
        self.moves = [moves_within_epochs(task) for task in tasks]

    def train(self, requests: Sequence[Request]) -> list[Answer]:
        """Make the steps of a block for every run.

        Args:
            requests: of the runs, in the order of `tasks`.
        """
        self.optimizer.refresh()
        everyone = range(len(requests))
        common = []
        made = []
        for batch in batches(requests):
            if batch.chosen is None:
                common.append(self.step(batch))
                self._advance(everyone)
                continue
            numbers = batch.chosen.tolist()
            part = self.take(batch.chosen)
            losses, predictions = part.step(batch)
            self._put(batch.chosen, part)
            self._advance(numbers)
            made.append(Made(numbers, losses[:, None], predictions))
        if common:
            made.insert(0, _joined(everyone, common))
        return _answers(len(requests), made)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Make one step with a batch of every run.

        Returns:
            the losses ``(K,)`` and the predictions ``(K, B, num_outputs)``.
        """
        gradients, losses, predictions = self.network.gradients(
            self.tasks[0].loss_of, batch.inputs, batch.learned
        )
        if any(limit is not None for limit in self.limits):
            gradients = clip(gradients, self.limits)
        self.optimizer.step(self.network.weights, gradients)
        return losses, predictions

    def take(self, chosen: Tensor) -> "Stack":
        """A stack of copies of some of the runs, by their numbers ``(k,)``."""
        part = copy(self)
        part.network = self.network.take(chosen)
        part.optimizer = self.optimizer.take(chosen)
        numbers = chosen.tolist()
        part.limits = [self.limits[number] for number in numbers]
        part.tasks = [self.tasks[number] for number in numbers]
        return part

    def _put(self, chosen: Tensor, part: "Stack") -> None:
        """Write back what `take` returned, after it was trained."""
        self.network.put(chosen, part.network)
        self.optimizer.put(chosen, part.optimizer)

    def _advance(self, numbers: Iterable[int]) -> None:
        """Step the schedules that move within epochs, of runs that made a step."""
        if not any(self.moves):
            return
        for number in numbers:
            if self.moves[number]:
                self.tasks[number].step_scheduler_after_batch()
        self.optimizer.refresh()


def _joined(numbers: Iterable[int], steps: Sequence[tuple[Tensor, Tensor]]) -> Made:
    """The steps that all runs made together."""
    losses, predictions = zip(*steps, strict=True)
    return Made(numbers, torch.stack(losses, 1), torch.cat(predictions, 1))


def _answers(count: int, made: Sequence[Made]) -> list[Answer]:
    """What each of so many runs gets, in the order of its batches."""
    losses = defaultdict(list)
    predictions = defaultdict(list)
    for each in made:
        for row, number in enumerate(each.numbers):
            losses[number].append(each.losses[row])
            predictions[number].append(each.predictions[row])
    answers = []
    for number in range(count):
        its_losses = torch.cat(losses[number])
        its_predictions = torch.cat(predictions[number])
        answers.append(Answer(its_losses, its_predictions))
    return answers


def moves_within_epochs(task: Task) -> bool:
    """Whether the learning rate of a task may change from step to step."""
    if task.scheduler is None:
        return False
    return isinstance(task.scheduler, Warmup) or task.scheduler_interval == "step"


def batches(requests: Sequence[Request]) -> Iterator[Batch]:
    """The batches of a block of every run, those that all have in common at once.

    Folds of unequal size end in batches of unequal size, which are made one size after
    the other.
    """
    size = requests[0].block.batch_size
    inputs = []
    learned = []
    for request in requests:
        block = request.block
        start = request.done * size
        inputs.append(block.inputs[start:])
        targets = request.task.learned(block.targets)
        learned.append(targets[start:])
    lengths = [len(each) for each in learned]
    common = min(lengths) // size * size
    if common:
        all_inputs = torch.stack([each[:common] for each in inputs])
        all_learned = torch.stack([each[:common] for each in learned])
        pairs = zip(all_inputs.split(size, 1), all_learned.split(size, 1), strict=True)
        for pair in pairs:
            yield Batch(*pair)
    for start in range(common, max(lengths), size):
        rest = slice(start, start + size)
        its_inputs = [each[rest] for each in inputs]
        its_learned = [each[rest] for each in learned]
        yield from _by_size(its_inputs, its_learned)


def _by_size(inputs: Sequence[Tensor], learned: Sequence[Tensor]) -> Iterator[Batch]:
    """One batch of every run that has samples left, one size after the other."""
    numbers_of = defaultdict(list)
    for number, each in enumerate(learned):
        numbers_of[len(each)].append(number)
    numbers_of.pop(0, None)
    for numbers in numbers_of.values():
        chosen = None
        if len(numbers) < len(learned):
            chosen = torch.tensor(numbers, device=inputs[0].device)
        its_inputs = [inputs[number] for number in numbers]
        its_learned = [learned[number] for number in numbers]
        yield Batch(torch.stack(its_inputs), torch.stack(its_learned), chosen)
