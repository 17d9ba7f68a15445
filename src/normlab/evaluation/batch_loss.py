"""The loss of a network on one batch, as a function of the parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

Vector = dict[str, Tensor]  # one tensor per parameter, by its name
RANDOM_SEED = 0  # of dropout and of other noise inside of the network


def trained_parameters(network: nn.Module) -> Vector:
    """Copies of the parameters that training changes, by name."""
    copies = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            copies[name] = value.detach().clone()
    return copies


def buffers_of(network: nn.Module) -> Vector:
    """Copies of all buffers, by name."""
    return {name: value.clone() for name, value in network.named_buffers()}


@dataclass(frozen=True)
class BatchLoss:
    """The loss of a network on one batch, as a function of the parameters.

    Nothing changes from call to call: every call starts from the same buffers, and
    dropout and other noise inside of the network are drawn from the same seed. The
    network itself is left as it was.

    Attributes:
        network: it computes in the mode that it has.
        loss: from predictions ``(N, K)`` and targets ``(N,)`` to a mean over the batch.
        inputs: ``(N, ...)``.
        targets: ``(N,)``.
        buffers: the buffers from which every call starts; those that are not named are
            the network's own, which must not change.
        context: a maker of contexts around forward passes, for mixed precision.
    """

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    inputs: Tensor
    targets: Tensor
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    context: Callable[[], AbstractContextManager] = nullcontext

    def loss_of(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """The loss as a scalar tensor, from which gradients can be computed."""
        state = dict(parameters)
        for name, buffer in self.buffers.items():
            state[name] = buffer.clone()
        with torch.random.fork_rng(), self.context():
            torch.manual_seed(RANDOM_SEED)
            predictions = functional_call(self.network, state, (self.inputs,))
            return self.loss(predictions, self.targets)

    def gradient(
        self, parameters: Mapping[str, Tensor], names: Sequence[str] | None = None
    ) -> tuple[float, Vector]:
        """The loss and its gradient.

        Args:
            parameters: where it is computed.
            names: the parameters whose gradient is computed; None for all.
        """
        wanted = parameters if names is None else names
        leaves = {}
        for name in wanted:
            leaf = parameters[name].detach().clone()
            leaves[name] = leaf.requires_grad_()
        value = self.loss_of(dict(parameters) | leaves)
        gradients = torch.autograd.grad(
            value,
            list(leaves.values()),
            allow_unused=True,
            materialize_grads=True,
        )
        by_name = dict(zip(leaves, gradients, strict=True))
        return float(value.detach()), by_name


def chosen(vector: Mapping[str, Tensor], names: Iterable[str]) -> Vector:
    """The part of a vector that belongs to some parameters."""
    return {name: vector[name] for name in names}


def dot(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The inner product of two vectors over the parameters that the first names."""
    total = 0.0
    for name, value in first.items():
        other = second[name].double()
        products = value.double() * other
        total += float(products.sum())
    return total


def length(vector: Mapping[str, Tensor]) -> float:
    """The Euclidean norm of a vector."""
    return dot(vector, vector) ** 0.5


def moved(
    start: Mapping[str, Tensor], direction: Mapping[str, Tensor], factor: float
) -> Vector:
    """``start + factor * direction``; parameters without a direction stay."""
    end = dict(start)
    for name, value in direction.items():
        end[name] = start[name] + factor * value
    return end


def difference(end: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Vector:
    """``end - start`` over the parameters that `end` names."""
    changes = {}
    for name, value in end.items():
        changes[name] = value - start[name]
    return changes
