"""The optimizer steps of several runs, made as those of one network.

Shapes: K runs, B samples in a batch, S batches in a block.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from normlab.data.blocks import BLOCK_BYTES, Block, EvaluationBlocks
from normlab.stacked.dropout import dropout_layers
from normlab.stacked.network import Forward, stack_networks
from normlab.stacked.optimizers import KINDS, clip
from normlab.training.scheduling import step_after_batch, steps_within_epochs
from normlab.training.tasks import Task
from normlab.training.together import Answer, Predicted, Request, spent


@dataclass(frozen=True)
class Batch:
    """What some runs of a stack are trained on in one step.

    Attributes:
        inputs: ``(k, B, ...)``.
        learned: what the networks learn of each sample ``(k, B)``, or the targets of
            samples that are scored.
        chosen: numbers of the runs ``(k,)``; None if they are all.
    """

    inputs: Tensor
    learned: Tensor
    chosen: Tensor | None = None


Item = TypeVar("Item")
OfRuns = Sequence[Tensor]  # one tensor per run
Step = tuple[Tensor, Tensor]  # losses and predictions, see `Stack.step`

SCORED = ("val", "test")  # parts that may be scored after an epoch
NO_BLOCK = Block(torch.empty(0), torch.empty(0), 1)
Sources = list[Iterable[Block] | None]  # the blocks of a part of every run
Scored = tuple[Sources, list[Batch]]  # and their samples, by size


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
        randomness, compiled: see `StackedNetwork`.

    Attributes:
        network: the stacked network.
        generators: of the runs, from which dropout draws; None if nothing does.
        optimizer: the stacked optimizer.
        limits: largest norm of the gradient of each run, or None.
        moves: whether the learning rate of each run may change within an epoch.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        randomness: str = "error",
        compiled: Forward | None = None,
    ) -> None:
        self.tasks = tasks
        networks = [task.network for task in tasks]
        network = stack_networks(networks, randomness)
        self.network = replace(network, compiled=compiled)
        self._scored: dict[str, Scored] = {}
        self.generators: list[torch.Generator] | None = None
        is_on_cpu = tasks[0].device.type == "cpu"
        if is_on_cpu and dropout_layers(networks[0]):
            self.generators = [torch.Generator() for _ in tasks]
        self.limits = []
        self.moves = []
        optimizers = []
        parameters = []
        for task in tasks:
            self.limits.append(task.gradient_clip)
            self.moves.append(
                steps_within_epochs(task.scheduler, task.scheduler_interval)
            )
            optimizers.append(task.trainer.optimizers[0])
            its_parameters = map(task.network.get_parameter, self.network.names)
            parameters.append(list(its_parameters))
        kind = KINDS[type(optimizers[0])]
        self.optimizer = kind(optimizers, parameters, self.network.weights)

    def train(self, requests: Sequence[Request]) -> list[Answer]:
        """Make the steps of a block for every run.

        Args:
            requests: of the runs, in the order of `tasks`.
        """
        self.optimizer.refresh()
        self.set_random_states(requests)
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
            one_step = losses.unsqueeze(1)
            made.append(Made(numbers, one_step, predictions))
        if common:
            made.insert(0, _joined(everyone, common))
        answers = _answers(len(requests), made)
        if self.generators is None:
            return answers
        with_states = []
        for answer, generator in zip(answers, self.generators, strict=True):
            state = generator.get_state()
            with_states.append(answer._replace(random_state=state))
        return with_states

    def set_random_states(self, requests: Sequence[Request]) -> None:
        """Let every generator continue where that of its run stands."""
        if self.generators is None:
            return
        for request, generator in zip(requests, self.generators, strict=True):
            if request.random_state is not None:
                generator.set_state(request.random_state)

    def step(self, batch: Batch) -> Step:
        """Make one step with a batch of every run.

        Returns:
            the losses ``(K,)`` and the predictions ``(K, B, num_outputs)``.
        """
        gradients, losses, predictions = self.network.gradients(
            self.tasks[0].loss_of, batch.inputs, batch.learned, self.generators
        )
        if any(limit is not None for limit in self.limits):
            gradients = clip(gradients, self.limits)
        self.optimizer.step(self.network.weights, gradients)
        return losses, predictions

    def predict(self, requests: Sequence[Request]) -> list[dict[str, Predicted]]:
        """Send the parts that runs score through their networks in evaluation mode.

        Runs with equally many samples are computed at once.

        Args:
            requests: of the runs, in the order of `tasks`.

        Returns:
            for every run, by the name of the part. What is left out, the run has to
            send through its network itself.
        """
        found: list[dict[str, Predicted]] = [{} for _ in requests]
        for name in SCORED:
            for batch in self._samples(name, requests):
                network = self.network
                numbers: Iterable[int] = range(len(requests))
                with spent(len(batch.inputs)) as share:
                    if batch.chosen is not None:
                        numbers = batch.chosen.tolist()
                        network = network.take(batch.chosen)
                    outputs = network.outputs(batch.inputs)
                rows = zip(numbers, outputs, batch.learned, strict=True)
                for number, its_outputs, its_targets in rows:
                    found[number][name] = Predicted(its_outputs, its_targets, share)
        return found

    def _samples(self, name: str, requests: Sequence[Request]) -> list[Batch]:
        """The samples of a part, which are gathered once for the same runs."""
        sources: Sources = [request.scored.get(name) for request in requests]
        if not any(sources):
            return []
        known, samples = self._scored.get(name, (None, []))
        if sources != known:
            # Larger parts take their time for arithmetic, which a stack does not save.
            most_bytes = BLOCK_BYTES // len(sources)
            blocks = [_whole(source, most_bytes) for source in sources]
            inputs = [block.inputs for block in blocks]
            targets = [block.targets for block in blocks]
            samples = list(_by_size(inputs, targets))
            self._scored[name] = (sources, samples)
        return samples

    def take(self, chosen: Tensor) -> "Stack":
        """A stack of copies of some of the runs, by their numbers ``(k,)``."""
        part = copy(self)
        part.network = self.network.take(chosen)
        part.optimizer = self.optimizer.take(chosen)
        numbers = chosen.tolist()
        part.limits = _chosen(self.limits, numbers)
        part.tasks = _chosen(self.tasks, numbers)
        if self.generators is not None:
            part.generators = _chosen(self.generators, numbers)
        return part

    def _put(
        self,
        chosen: Tensor,
        part: "Stack",
    ) -> None:
        """Write back what `take` returned, after it was trained."""
        self.network.put(chosen, part.network)
        self.optimizer.put(chosen, part.optimizer)

    def _advance(self, numbers: Iterable[int]) -> None:
        """Step the schedules that move within epochs, of runs that made a step."""
        if not any(self.moves):
            return
        for number in numbers:
            if self.moves[number]:
                task = self.tasks[number]
                step_after_batch(task.scheduler, task.scheduler_interval)
        self.optimizer.refresh()


def _joined(numbers: Iterable[int], steps: Sequence[Step]) -> Made:
    """The steps that all runs made together."""
    losses, predictions = zip(*steps, strict=True)
    all_losses = torch.stack(losses, 1)
    all_predictions = torch.cat(predictions, 1)
    return Made(numbers, all_losses, all_predictions)


def _chosen(items: Sequence[Item], numbers: Iterable[int]) -> list[Item]:
    """Some of the items, by their numbers."""
    return [items[number] for number in numbers]


def _answers(count: int, made: Sequence[Made]) -> list[Answer]:
    """What each of the `count` runs gets, in the order of its batches."""
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
        answer = Answer(its_losses, its_predictions)
        answers.append(answer)
    return answers


def batches(requests: Sequence[Request]) -> Iterator[Batch]:
    """The batches of a block of every run, those that all have in common at once.

    Folds of unequal size end in batches of unequal size, which are made one size after
    the other.
    """
    size = requests[0].block.batch_size
    inputs = []
    learned = []
    lengths = []
    for request in requests:
        block = request.block
        start = request.done * size
        targets = request.task.learned(block.targets)
        inputs.append(block.inputs[start:])
        learned.append(targets[start:])
        lengths.append(len(targets) - start)
    common = min(lengths) // size * size
    if common:
        yield from _common(inputs, learned, common, size)
    for start in range(common, max(lengths), size):
        rest = slice(start, start + size)
        its_inputs = _each(inputs, rest)
        its_learned = _each(learned, rest)
        yield from _by_size(its_inputs, its_learned)


def _each(tensors: OfRuns, part: slice) -> list[Tensor]:
    """A part of each of some tensors."""
    return [tensor[part] for tensor in tensors]


def _common(
    inputs: OfRuns,
    learned: OfRuns,
    count: int,
    size: int,
) -> Iterator[Batch]:
    """Full batches of the first `count` samples, which every run has."""
    first = slice(count)
    its_inputs = _each(inputs, first)
    its_learned = _each(learned, first)
    all_inputs = torch.stack(its_inputs)
    all_learned = torch.stack(its_learned)
    batches_of_inputs = all_inputs.split(size, 1)
    batches_of_learned = all_learned.split(size, 1)
    for pair in zip(batches_of_inputs, batches_of_learned, strict=True):
        yield Batch(*pair)


def _whole(source: Iterable[Block] | None, most_bytes: int) -> Block:
    """A part in one block; a block without samples if it has several or is larger."""
    if not isinstance(source, EvaluationBlocks) or source.bytes > most_bytes:
        return NO_BLOCK
    block, *others = source
    return NO_BLOCK if others else block


def _by_size(inputs: OfRuns, learned: OfRuns) -> Iterator[Batch]:
    """One batch of every run that has samples left, one size after the other."""
    numbers_of = defaultdict(list)
    for number, each in enumerate(learned):
        numbers_of[len(each)].append(number)
    numbers_of.pop(0, None)
    for numbers in numbers_of.values():
        chosen = None
        if len(numbers) < len(learned):
            device = inputs[numbers[0]].device
            chosen = torch.tensor(numbers, device=device)
        its_inputs = _chosen(inputs, numbers)
        its_learned = _chosen(learned, numbers)
        all_inputs = torch.stack(its_inputs)
        all_learned = torch.stack(its_learned)
        yield Batch(all_inputs, all_learned, chosen)
