"""`torch.compile` for the steps of a stack: the forward and the backward pass.

One graph serves every number of runs and of samples, so that nothing is compiled anew
when a run leaves the stack, or for the smaller last batch of an epoch.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from normlab.stacked.network import Forward, StackedNetwork, Tensors
from normlab.stacked.stack import Batch, Stack
from normlab.stacked.trial import TOLERANCES, first_batch, step_seconds
from normlab.training.compilation import share_caches
from normlab.training.outputs import agree
from normlab.training.together import Request


class NotCompiled(Exception):
    """Steps that are not compiled; the text says why."""


def compiled_forward(
    stack: Stack,
    requests: Sequence[Request],
    most: int,
) -> Forward:
    """Compile the passes of a stack, and compare them with those that are not compiled.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.
        most: largest number of runs that are computed.

    Returns:
        what becomes `StackedNetwork.compiled`, of stacks of any number of these runs.

    Raises:
        NotCompiled: says why.
    """
    if stack.generators is not None or stack.network.randomness != "error":
        raise NotCompiled("compiled steps would draw other random numbers")
    batch, chosen = first_batch(requests)
    batch = Batch(batch.inputs[:most], batch.learned[:most])
    eager = stack.take(chosen[:most])
    part = stack.take(chosen[:most])
    forward = _compiled(stack.network)
    part.network = replace(part.network, compiled=forward)
    try:
        found = _pass(part, batch)
    except Exception as error:  # of the compiler, or of what it cannot take
        first_line = str(error).partition("\n")[0]
        reason = f"{type(error).__name__}: {first_line}"
        raise NotCompiled(f"torch.compile failed: {reason}") from error
    _check_equal(_pass(eager, batch), found)
    before = step_seconds(eager, batch)
    gain = before / step_seconds(part, batch)
    if gain < 1:
        raise NotCompiled(f"a compiled step is only {gain:.2f} times as fast")
    return forward


def _compiled(network: StackedNetwork) -> Forward:
    """`StackedNetwork.forward` for networks of one structure, compiled when called.

    The loss is left out: PyTorch compiles cross-entropy for one number of runs only.
    """
    share_caches()
    # All stacks of a process would share one limit on recompilations.
    torch.compiler.reset()
    # The graph belongs to this template, whichever runs are in the stack later.
    template = deepcopy(network.template)
    own = replace(network, template=template)
    function = torch.compile(own.forward, fullgraph=True)

    def forward(
        weights: Tensor,
        constants: Tensors,
        buffers: Tensors,
        inputs: Tensor,
    ) -> Tensor:
        # A batch is a part of a block, whose length would be in its strides.
        inputs = inputs.contiguous()
        for tensor in (weights, inputs, *constants.values(), *buffers.values()):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        torch._dynamo.maybe_mark_dynamic(inputs, 1)
        predictions: Tensor = function(weights, constants, buffers, inputs)
        return predictions

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
    """Refuse what compiling has changed by more than rounding; integers are equal."""
    for name, value in wanted.items():
        tolerance = TOLERANCES.get(value.dtype, 0.0)
        if value.numel() and not agree(value, found[name], tolerance):
            difference = float((value - found[name]).abs().max())
            raise NotCompiled(
                f"torch.compile changes the {name} of a step by up to {difference:.2g}"
            )
