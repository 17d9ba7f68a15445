"""Bounds on the network of a stored run, which somebody else may have configured.

Before anything is allocated, the network is built on PyTorch's meta device, which has
shapes and no values, and one sample is passed through it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from normlab.data.stored_inputs import StoredInputs
from normlab.messages import first_line
from normlab.mistakes import MISTAKES, reason
from normlab.training.build import build_network, without_pretrained

# A network registers layers and parameters that are replaced later: norms, outputs.
REGISTRATIONS_PER_TENSOR = 50
MOST_FREE_REGISTRATIONS = 1000
MOST_FLOPS = 1e13  # of one sample; large vision transformers need 1e12
LARGEST_TENSOR = 2**28  # values that a layer may make of one sample
LARGEST_BATCH = 256
BATCH_VALUES = 2**23  # inputs and outputs of a batch
MOST_SHOWN = 3


def build_bounded(
    config: dict, inputs: StoredInputs, state: Mapping[str, Tensor], file_size: int
) -> nn.Module:
    """Build the network of a run and load its state, on the CPU in evaluation mode.

    Args:
        config: the configuration of the run, whose targets were checked.
        inputs: what the network takes.
        state: the state dict of its best checkpoint.
        file_size: of the checkpoint, in bytes.

    Raises:
        ValueError: network and state do not fit, or are larger than the file.
    """
    config = without_pretrained(config)
    shape, num_outputs = inputs.input_shape, inputs.num_outputs
    _check_state(state, file_size)
    with torch.device("meta"), _few_registrations(len(state)):
        network = _without_crash(config, shape, num_outputs)
    _check_fit(network, state)
    _check_work(network, shape)

    network, _ = build_network(config, shape, num_outputs)
    dtype = next((value.dtype for value in state.values() if value.ndim), None)
    if dtype is not None and dtype.is_floating_point:
        network.to(dtype)
    network.load_state_dict(state)
    return network.eval()


def _without_crash(config: dict, shape: Sequence[int], num_outputs: int) -> nn.Module:
    try:
        network, _ = build_network(config, tuple(shape), num_outputs)
    except (*MISTAKES, TypeError, RuntimeError, AttributeError, KeyError) as error:
        if isinstance(error.__cause__, TooManyLayers):
            raise error.__cause__ from None
        line = reason(error).partition("\n")[0]
        raise ValueError(
            f"the network of the configuration cannot be built: {line}"
        ) from error
    return network


def _check_state(state: Mapping[str, Tensor], file_size: int) -> None:
    """Refuse tensors that stand for more values than the file has bytes."""
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError("best.ckpt must hold the tensors of a network by name")
    if sum(value.numel() for value in state.values()) > file_size:
        raise ValueError("best.ckpt holds tensors that are larger than the file")


class TooManyLayers(ValueError):
    """A network has far more layers than its state has tensors."""


@contextmanager
def _few_registrations(num_tensors: int) -> Iterator[None]:
    """Stop the construction of a network that has far more layers than its state."""
    left = MOST_FREE_REGISTRATIONS + REGISTRATIONS_PER_TENSOR * num_tensors

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooManyLayers(
                "the network of the configuration has more layers than best.ckpt; "
                "they are of different runs"
            )

    hooks = [
        register_module_module_registration_hook(count),
        register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_fit(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuse a state with other names or shapes than the network."""
    wrong = []
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in state:
            wrong.append(f"{name} is missing")
        elif not is_lazy(value) and state[name].shape != value.shape:
            found, wanted = tuple(state[name].shape), tuple(value.shape)
            wrong.append(f"{name} is {found} instead of {wanted}")
    wrong += [f"{name} is unknown" for name in state if name not in expected]
    if wrong:
        shown = "; ".join(wrong[:MOST_SHOWN])
        raise ValueError(
            f"best.ckpt does not fit the network of the configuration: {shown}"
        )


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for value in tree_leaves(outputs):
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return outputs


@torch.no_grad()
def _check_work(network: nn.Module, shape: Sequence[int]) -> None:
    """Refuse a network that would take hours, or all memory, for one sample."""
    counter = FlopCounterMode(display=False)
    try:
        with torch.device("meta"), counter, _Largest() as largest:
            network.eval()(torch.empty(1, *shape))
    except NotImplementedError:
        return  # an operator that the meta device does not have
    except (ValueError, TypeError, RuntimeError) as error:
        sizes = " x ".join(map(str, shape))
        raise ValueError(
            f"the network cannot take samples of {sizes}: {first_line(error)}"
        ) from error
    flops = counter.get_total_flops()
    if flops > MOST_FLOPS or largest.numel > LARGEST_TENSOR:
        raise ValueError(
            f"one sample must need at most {MOST_FLOPS:.0e} operations and tensors of "
            f"{LARGEST_TENSOR} values, this network needs {flops:.0e} and "
            f"{largest.numel}"
        )


def samples_per_batch(sample_values: int, num_outputs: int) -> int:
    """How many samples are passed through a network at once.

    Args:
        sample_values: numbers in one sample.
        num_outputs: numbers in one prediction.
    """
    return max(1, min(LARGEST_BATCH, BATCH_VALUES // (sample_values + num_outputs)))
