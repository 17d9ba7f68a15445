"""`torch.compile` for the steps of a stack: the forward and the backward pass.

One graph serves stacks of two and more runs and batches of any size. Nothing is
compiled again if a run leaves the stack, or for the smaller last batch of an epoch.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Final, Literal

import torch
from torch import Tensor

from normlab.messages import with_class
from normlab.stacked.alike import first_batch
from normlab.stacked.network import StackedNetwork, Tensors
from normlab.stacked.stack import Batch, Stack
from normlab.stacked.timing import step_seconds
from normlab.stacked.trial import TOLERANCES
from normlab.training.compilation import share_caches
from normlab.training.outputs import agree
from normlab.training.together import Request

# What `torch.compiler.set_stance` is told of a call for which there is no graph.
COMPILE: Final = "default"
AS_IT_IS: Final = "eager_on_recompile"
REFUSE: Final = "fail_on_recompile"
Stance = Literal["default", "eager_on_recompile", "fail_on_recompile"]


class NotCompiled(Exception):
    """Steps that are not compiled; the text says why."""


class CompiledForward:
    """`StackedNetwork.forward`, compiled when it is first called.

    The loss is left out: PyTorch compiles cross-entropy for one number of runs only.

    Args:
        network: of the stack. Stacks of some of its runs are computed as well.
    """

    def __init__(self, network: StackedNetwork) -> None:
        share_caches()
        # All stacks of a process would share one limit on recompilations.
        torch.compiler.reset()
        # The graph belongs to this template, whichever runs are in the stack later.
        # Weights and buffers are arguments: it keeps none alive.
        own = replace(
            network,
            template=deepcopy(network.template),
            weights=torch.empty(0),
            constants={},
            buffers={},
        )
        self._compiled = torch.compile(own.forward, fullgraph=True)
        self._stance: Stance = COMPILE

    def __call__(
        self,
        weights: Tensor,
        constants: Tensors,
        buffers: Tensors,
        inputs: Tensor,
    ) -> Tensor:
        """Send a batch of every network forward, see `StackedNetwork.forward`.

        What the graph of the first call does not fit is computed as it is.
        """
        # The strides of a part of a block depend on the length of the block.
        inputs = inputs.contiguous()
        for tensor in (weights, inputs, *constants.values(), *buffers.values()):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        torch._dynamo.maybe_mark_dynamic(inputs, 1)
        with torch.compiler.set_stance(self._stance):
            predictions: Tensor = self._compiled(weights, constants, buffers, inputs)
        self._stance = AS_IT_IS
        return predictions

    def fits(self, stack: Stack, batch: Batch) -> bool:
        """Whether there is a graph for a batch of a stack, whose buffers it moves."""
        network = stack.network
        weights = network.weights.detach().requires_grad_()
        self._stance = REFUSE
        try:
            self(weights, network.constants, network.buffers, batch.inputs)
        except RuntimeError:
            return False
        finally:
            self._stance = AS_IT_IS
        return True


def compiled_forward(
    stack: Stack,
    requests: Sequence[Request],
    most: int,
) -> CompiledForward:
    """Compile the passes of a stack, and compare them with those that are not compiled.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.
        most: largest number of runs that are computed.

    Returns:
        `StackedNetwork.compiled` for stacks of these runs and of some of them.

    Raises:
        NotCompiled: says why.
    """
    if stack.generators is not None or stack.network.randomness != "error":
        raise NotCompiled("compiled steps would draw other random numbers")
    batch, chosen = first_batch(requests)
    batch = Batch(batch.inputs[:most], batch.learned[:most])
    eager = stack.take(chosen[:most])
    part = stack.take(chosen[:most])
    try:
        forward = CompiledForward(stack.network)
        part.network = replace(part.network, compiled=forward)
        found = _pass(part, batch)
        _check_equal(_pass(eager, batch), found)
        two = Batch(batch.inputs[:2], batch.learned[:2])
        if not forward.fits(stack.take(chosen[:2]), two):
            raise NotCompiled("the graph of torch.compile fits one number of runs only")
        gain = step_seconds(eager, batch) / step_seconds(part, batch)
    except NotCompiled:
        raise
    except Exception as error:  # of any module
        reason = f"torch.compile failed: {with_class(error)}"
        raise NotCompiled(reason) from error
    if gain < 1:
        raise NotCompiled(f"a compiled step is only {gain:.2f} times as fast")
    return forward


def _pass(stack: Stack, batch: Batch) -> Tensors:
    """The gradients, losses, predictions and moved buffers of one batch, by name."""
    network = stack.network
    loss = stack.tasks[0].loss_of
    gradients, losses, predictions = network.gradients(
        loss, batch.inputs, batch.learned
    )
    found = {f"buffer {name}": value for name, value in network.buffers.items()}
    return found | {
        "gradients": gradients,
        "losses": losses,
        "predictions": predictions,
    }


def _check_equal(wanted: Tensors, found: Tensors) -> None:
    """Refuse what compiling has changed; numbers that are not whole may be rounded."""
    for name, value in wanted.items():
        tolerance = TOLERANCES.get(value.dtype)
        if tolerance is None or not value.numel():
            is_equal = torch.equal(value, found[name])
        else:
            is_equal = agree(value, found[name], tolerance)
        if not is_equal:
            raise NotCompiled(f"torch.compile changes the {name} of a step")
