"""Networks of one structure whose tensors lie side by side in memory.

Shapes: K networks, P trained numbers in each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from normlab.stacked.dropout import Generators, own_noise

# From predictions ``(N, num_outputs)`` and what is learned ``(N,)`` to the mean loss.
Loss = Callable[[Tensor, Tensor], Tensor]
Tensors = dict[str, Tensor]
# From weights ``(K, P)``, constants, buffers and inputs to the predictions of every
# network ``(K, N, num_outputs)``.
Forward = Callable[[Tensor, Tensors, Tensors, Tensor], Tensor]


@dataclass(frozen=True)
class StackedNetwork:
    """K networks that are computed as one.

    Attributes:
        template: one of the networks, whose `forward` is called with the tensors of
            all. Its own tensors are put back after every call.
        names: names of the trained parameters.
        shapes: their shapes in one network.
        weights: the trained parameters of every network in a row ``(K, P)``.
        constants: parameters that are not trained, by name ``(K, ...)``.
        buffers: by name ``(K, ...)``; a forward pass in training moves them.
        randomness: what `torch.vmap` does with random operations other than those of
            `normlab.stacked.dropout`: `error`, or `different` for every network.
        compiled: computes what `forward` does, see `normlab.stacked.compilation`; None
            if nothing is compiled.
    """

    template: nn.Module
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    weights: Tensor
    constants: Tensors
    buffers: Tensors
    randomness: str = "error"
    compiled: Forward | None = None

    @property
    def sizes(self) -> list[int]:
        """How many numbers each trained parameter has in one network."""
        return [shape.numel() for shape in self.shapes]

    @property
    def untrained(self) -> Tensors:
        """What a forward pass may move: buffers and parameters that are not trained."""
        return self.constants | self.buffers

    def parameters(self, rows: Tensor) -> Tensors:
        """The trained parameters by name ``(K, ...)``, as views of rows ``(K, P)``."""
        columns = rows.split(self.sizes, 1)
        named = {}
        for name, shape, values in zip(self.names, self.shapes, columns, strict=True):
            named[name] = values.view(len(rows), *shape)
        return named

    def forward(
        self,
        weights: Tensor,
        constants: Tensors,
        buffers: Tensors,
        inputs: Tensor,
    ) -> Tensor:
        """Send a batch of every network forward.

        Args:
            weights: in place of its own ``(K, P)``, so that they can have gradients.
            constants, buffers: in place of its own.
            inputs: ``(K, N, ...)``.

        Returns:
            ``(K, N, num_outputs)``.
        """

        def of_one(state: Tensors, inputs: Tensor) -> Tensor:
            return functional_call(self.template, state, (inputs,))

        state = self.parameters(weights)
        state |= constants
        state |= buffers
        return torch.vmap(of_one, randomness=self.randomness)(state, inputs)

    def gradients(
        self,
        loss: Loss,
        inputs: Tensor,
        learned: Tensor,
        generators: Generators | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Send one batch of every network forward and backward.

        Args:
            loss: the mean loss over the batch of one network.
            inputs: ``(K, N, ...)``.
            learned: ``(K, N)``, or ``(K, N, num_outputs)``.
            generators: from which dropout draws, one per network.

        Returns:
            the gradients ``(K, P)``, the losses ``(K,)`` and the predictions
            ``(K, N, num_outputs)``.
        """
        forward = self.compiled or self.forward
        rows = self.weights.detach().requires_grad_()
        with own_noise(self.template, generators):
            predictions = forward(rows, self.constants, self.buffers, inputs)
        of_runs = torch.vmap(loss, randomness=self.randomness)
        losses = of_runs(predictions, learned)
        # The loss of a network depends on its own row alone.
        total = losses.sum()
        (gradients,) = torch.autograd.grad(total, rows)
        return gradients, losses.detach(), predictions.detach()

    @torch.no_grad()
    def outputs(self, inputs: Tensor) -> Tensor:
        """Send samples of every network forward in evaluation mode.

        Random operations are refused, since they would draw other numbers than alone.

        Args:
            inputs: ``(K, N, ...)``.

        Returns:
            ``(K, N, num_outputs)``.
        """
        without_noise = replace(self, randomness="error")
        training = self.template.training
        self.template.eval()
        try:
            return without_noise.forward(
                self.weights, self.constants, self.buffers, inputs
            )
        finally:
            self.template.train(training)

    def take(self, chosen: Tensor) -> "StackedNetwork":
        """A stack of copies of some of the networks, by their numbers ``(k,)``."""
        return replace(
            self,
            weights=self.weights.index_select(0, chosen),
            constants=_taken(self.constants, chosen),
            buffers=_taken(self.buffers, chosen),
        )

    def put(
        self,
        chosen: Tensor,
        part: "StackedNetwork",
    ) -> None:
        """Write back what `take` returned for these networks, after it was trained."""
        self.weights.index_copy_(0, chosen, part.weights)
        untrained = self.untrained
        for name, rows in part.untrained.items():
            untrained[name].index_copy_(0, chosen, rows)


def _taken(tensors: Tensors, chosen: Tensor) -> Tensors:
    return {name: value.index_select(0, chosen) for name, value in tensors.items()}


@torch.no_grad()
def stack_networks(
    networks: Sequence[nn.Module], randomness: str = "error"
) -> StackedNetwork:
    """Put the tensors of networks side by side.

    The networks remain what they are: their tensors become views of the stack, so that
    each always has its own latest state.

    Args:
        networks: of equal structure, see `structure`.
        randomness: see `StackedNetwork`.
    """
    parameters = [dict(network.named_parameters()) for network in networks]
    buffers = [dict(network.named_buffers()) for network in networks]
    trained = []
    shapes = []
    constant = []
    for name, parameter in parameters[0].items():
        if parameter.requires_grad:
            trained.append(name)
            shapes.append(parameter.shape)
        else:
            constant.append(name)
    columns = []
    for values in _side_by_side(parameters, trained).values():
        columns.append(values.flatten(1))
    stacked = StackedNetwork(
        template=networks[0],
        names=tuple(trained),
        shapes=tuple(shapes),
        weights=torch.cat(columns, 1),
        constants=_side_by_side(parameters, constant),
        buffers=_side_by_side(buffers, list(buffers[0])),
        randomness=randomness,
    )
    rows_of = stacked.parameters(stacked.weights)
    rows_of |= stacked.untrained
    own = []
    for its_parameters, its_buffers in zip(parameters, buffers, strict=True):
        own.append(its_parameters | its_buffers)
    for name, rows in rows_of.items():
        for tensors, row in zip(own, rows.unbind(), strict=True):
            tensors[name].data = row
    return stacked


def _side_by_side(
    tensors: Sequence[Mapping[str, Tensor]], names: Sequence[str]
) -> Tensors:
    """Tensors of the given names, stacked along a new first axis ``(K, ...)``."""
    stacked = {}
    for name in names:
        values = [each[name] for each in tensors]
        stacked[name] = torch.stack(values).detach()
    return stacked


def structure(network: nn.Module) -> tuple[object, ...]:
    """What networks must have in common to be stacked: names, shapes and types."""
    tensors = chain(network.named_parameters(), network.named_buffers())
    described = []
    for name, tensor in tensors:
        kind = (name, tensor.shape, tensor.dtype, tensor.requires_grad)
        described.append(kind)
    return tuple(described)
