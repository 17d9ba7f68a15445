"""The gradients of one optimizer step, from one forward pass or from several."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from normlab.data.blocks import Block
from normlab.training.collectives import sum_over_processes

Backward = Callable[[Tensor], None]
Scale = float | Tensor  # a factor of a loss


class Trained(Protocol):
    """What is needed of a `normlab.training.tasks.Task`."""

    network: nn.Module
    reuses_outputs: bool
    trainer: Any

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over some samples."""

    def weight_of(self, targets: Tensor) -> Tensor | None:
        """The sum of their weights; None if all samples weigh the same."""


def backpropagate(
    task: Trained,
    block: Block,
    inputs: Tensor,
    targets: Tensor,
    clear: Callable[[], None],
    backward: Backward,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the mean loss over the samples of a step.

    If the block divides a step into micro-batches, each goes through the network by
    itself, so that norms which look at the batch see one micro-batch at a time. The
    gradients add up to those of the mean over all samples of the step, in all
    processes; if the loss weighs classes, to those of the weighted mean.

    Args:
        task: the network and its loss.
        block: the block that the samples are from.
        inputs: samples of the step ``(B, ...)``.
        targets: ``(B,)``, or ``(B, K)`` for samples that were mixed.
        clear: removes the gradients of the step before.
        backward: computes gradients, and exchanges them if several processes train.

    Returns:
        the mean loss, and the predictions ``(B, num_outputs)``.
    """
    size = block.micro_batch_size
    loss_scale = _loss_scale(task, block, targets)
    if size is None or size >= len(targets):
        return _one_pass(task, inputs, targets, loss_scale, clear, backward)

    losses = []
    predictions = []
    parts = list(zip(inputs.split(size), targets.split(size), strict=True))
    for number, (its_inputs, its_targets) in enumerate(parts, start=1):
        share = _share(task, its_targets, targets)
        scale = share * loss_scale
        # The gradients that several processes exchange are sums over the micro-batches.
        is_last = number == len(parts)
        exchange = is_last or task.trainer.world_size == 1
        loss, prediction = _one_pass(
            task,
            its_inputs,
            its_targets,
            scale,
            clear if number == 1 else _keep,
            backward if exchange else Tensor.backward,
        )
        losses.append(loss * share)
        predictions.append(prediction)
    return torch.stack(losses).sum(), torch.cat(predictions)


def _loss_scale(task: Trained, block: Block, targets: Tensor) -> Scale:
    """By what the mean loss of this process is multiplied before gradients.

    The mean of all processes' gradients is then that of the mean loss of their samples.
    """
    world_size: int = task.trainer.world_size
    if world_size == 1:
        return block.loss_scale
    weight = task.weight_of(targets)
    if weight is None:
        return block.loss_scale
    total = sum_over_processes(weight.clone())
    return divided_by_weight(weight * world_size, total)


def _share(task: Trained, part: Tensor, targets: Tensor) -> Scale:
    """The share of a micro-batch in the mean loss of this process."""
    weight = task.weight_of(targets)
    if weight is None:
        return len(part) / len(targets)
    its_weight = task.weight_of(part)
    assert its_weight is not None  # the same classes have weights
    return divided_by_weight(its_weight, weight)


def divided_by_weight(value: Tensor, weight: Tensor) -> Tensor:
    """Divide what is zero without weight by a sum of weights; 0 if that is 0.

    Args:
        value: a part of the weights, or a sum of weighted losses.
        weight: the sum of the weights, at least 0.
    """
    return value / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def _keep() -> None:
    """Keep the gradients, to which those of the next pass are added."""


def _one_pass(
    task: Trained,
    inputs: Tensor,
    targets: Tensor,
    scale: Scale,
    clear: Callable[[], None],
    backward: Backward,
) -> tuple[Tensor, Tensor]:
    prediction = task.network(inputs)
    loss = task.loss(prediction, targets)
    clear()
    is_whole = isinstance(scale, float) and scale == 1.0
    backward(loss if is_whole else loss * scale)
    prediction = prediction.detach()
    if task.reuses_outputs:  # the next pass would overwrite them
        prediction = prediction.clone()
    return loss.detach(), prediction


def backpropagate_nearby(
    task: Trained,
    block: Block,
    inputs: Tensor,
    targets: Tensor,
    optimizer: Any,
    backward: Backward,
) -> None:
    """Replace the gradients by those at the point that the optimizer steps by.

    No buffer keeps what the second pass does to it: running statistics are those of the
    weights, not of the point, and every batch counts once.

    Args:
        task, block, inputs, targets: see `backpropagate`.
        optimizer: has a context manager `perturbed`, see `normlab.optimizers.SAM`.
        backward: computes gradients, and exchanges them if several processes train.
    """
    with optimizer.perturbed(), unchanged_buffers(task.network):
        backpropagate(task, block, inputs, targets, optimizer.zero_grad, backward)


@contextmanager
@torch.no_grad()
def unchanged_buffers(network: nn.Module) -> Iterator[None]:
    """Put all buffers of a network back at the end of the `with` block.

    These are the running statistics of every norm, whatever they are called and whether
    it updates its buffers or replaces them, and the counters that belong to them.
    """
    kept = []
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            kept.append((module, name, buffer, buffer.clone()))
    try:
        yield
    finally:
        for module, name, buffer, value in kept:
            module._buffers[name] = buffer.copy_(value)


@contextmanager
def preserved_state(network: nn.Module) -> Iterator[None]:
    """Restore a network when the `with` block ends.

    Its buffers, gradients and mode are then as they were, and so are the states of all
    random number generators.
    """
    gradients = [parameter.grad for parameter in network.parameters()]
    training = network.training
    for parameter in network.parameters():
        parameter.grad = None
    with torch.random.fork_rng(), unchanged_buffers(network):
        try:
            yield
        finally:
            network.train(training)
            pairs = zip(network.parameters(), gradients, strict=True)
            for parameter, gradient in pairs:
                parameter.grad = gradient
