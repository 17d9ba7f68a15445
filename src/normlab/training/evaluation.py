"""The metrics of a part of the data, from one pass through the network."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from normlab.data.blocks import Block
from normlab.training.collectives import sum_over_processes
from normlab.training.scores import Outputs

# What a network returns for a block ``(N, num_outputs)``, and the targets ``(N,)``.
Outcome = tuple[Tensor, Tensor]


class Scored(Protocol):
    """What is needed of a `normlab.training.tasks.Task`."""

    network: nn.Module

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Sums over samples, from which `metrics_from` computes the metrics."""

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        """The metrics of a part from the sums of its `score` vectors."""


@torch.no_grad()
def evaluate(
    task: Scored,
    blocks: Iterable[Block],
    context: Callable = nullcontext,
    outputs: Outputs | None = None,
    network: nn.Module | None = None,
    predicted: Iterable[Outcome] | None = None,
) -> dict[str, float]:
    """Score a part of the data in evaluation mode; every score comes from here.

    Args:
        task: the network and its metrics. The network is returned to the mode
            (training or evaluation) that it had.
        blocks: the samples of the part, each of them once.
        context: a context manager around every forward pass, such as automatic mixed
            precision.
        outputs: collects the outputs of the network, if anybody needs them.
        network: scored in place of the network of the task.
        predicted: what the network returns for the blocks, if that is known already.

    Returns:
        The metrics by name.
    """
    if predicted is None:
        predicted = predict(network or task.network, blocks, context)
    sums = []
    for predictions, targets in predicted:
        sums.append(task.score(predictions, targets))
        if outputs is not None:
            outputs.add(predictions, targets)
    total = sum_over_processes(torch.stack(sums).sum(0))
    return task.metrics_from(total.tolist())


def predict(
    network: nn.Module, blocks: Iterable[Block], context: Callable
) -> Iterator[Outcome]:
    """Send blocks through a network in evaluation mode.

    Args:
        network: returned to the mode that it had, after the last block.
        blocks: the samples.
        context: see `evaluate`.
    """
    training = network.training
    network.eval()
    for block in blocks:
        with context():
            predictions = network(block.inputs)
        yield predictions, block.targets
    network.train(training)
