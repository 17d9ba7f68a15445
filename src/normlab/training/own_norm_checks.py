"""Check a norm of the user's own on a few rows of the data, before a run trains.

What would make the stored score wrong is refused with the line to change; what is
unusual gets a caution. Shipped norms pass these checks in the tests of the project.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from normlab.check.source import Source
from normlab.config.trust import OWN_NORM, is_in
from normlab.data.parts import Parts
from normlab.models.recurrent import StepNorm
from normlab.norms.construction import FunctionNorm, name_of
from normlab.norms.loading import describe, line_in_file
from normlab.norms.state import (
    ATTRIBUTE,
    changed_paths,
    snapshot,
    state_of,
    with_graph,
)
from normlab.training.build import build_network, without_pretrained
from normlab.training.outputs import agree, evaluated, largest_difference

ROWS = 8
TOLERANCE = 1e-5  # relative, of outputs that must agree


@dataclass(frozen=True)
class Seen:
    """What went through a layer in one training step.

    Attributes:
        input: of its first call.
        output: of its first call.
    """

    input: Tensor
    output: Any


def is_own_norm(config: dict) -> bool:
    """Whether the code of the norm is the user's own.

    Args:
        config: a resolved configuration.
    """
    target = str(config["norm"].get("_target_"))
    return target == OWN_NORM or is_in(target, config["trusted_packages"])


def check_own_norm(config: dict, parts: Parts) -> list[str]:
    """Train a copy of the network for two steps, and look at its norm layers.

    Args:
        config: a resolved configuration.
        parts: the data of the run, of which a few rows are used.

    Returns:
        cautions, one sentence each.

    Raises:
        ValueError: a layer changes the shape or type of its input, keeps the graph of
            past steps, keeps state that a checkpoint does not hold, or changes in
            evaluation. The message has the line to change.
    """
    network, layers = _build(config, parts)
    fresh_network, fresh_layers = _build(config, parts)
    inputs = parts.train.evaluation_inputs(parts.train.rows[:ROWS])
    with torch.random.fork_rng(devices=[]):
        seen = _train_twice(network, layers, inputs)
    _keep_first_steps(network)
    _keep_first_steps(fresh_network)
    cautions: list[str] = []
    for name, found in seen.items():
        layer = layers[name]
        fresh = fresh_layers[name]
        _check_output(layer, found)
        _check_graph(layer)
        _check_copy(layer)
        _check_evaluation(layer, found.input)
        _check_stored_state(layer, fresh, found.input)
        for caution in _unusual(layer, fresh, found.input):
            if caution not in cautions:
                cautions.append(caution)
    return cautions


def _build(config: dict, parts: Parts) -> tuple[nn.Module, dict[str, nn.Module]]:
    bare = without_pretrained(config)
    return build_network(bare, parts.input_shape, parts.num_outputs)


def _keep_first_steps(network: nn.Module) -> None:
    """Let the norms of an LSTM be called by themselves, as in its first time step."""
    for module in network.modules():
        if isinstance(module, StepNorm):
            module.keep_first_step()


def _train_twice(
    network: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor
) -> dict[str, Seen]:
    """Make two training steps, and return what the layers got and gave in the second.

    Raises:
        ValueError: a step fails, and which layer is the reason, if that is known.
    """
    network.train()
    for _ in range(2):
        with _watched(layers) as seen:
            try:
                outputs = network(inputs).float()
                outputs.square().mean().backward()
            except Exception as error:  # whatever the user's own code raises
                raise _explained(error, layers, seen) from error
    return seen


def _explained(
    error: Exception, layers: Mapping[str, nn.Module], seen: Mapping[str, Seen]
) -> ValueError:
    """Why a training step fails."""
    try:
        for name, found in seen.items():
            _check_output(layers[name], found)
        for layer in layers.values():
            _check_graph(layer)
    except ValueError as reason:
        return reason
    place = place_of_failure(error, layers)
    names = {_name(layer) for layer in layers.values()}
    named = ", ".join(sorted(names))
    return ValueError(
        f"a training step with {named} fails on {ROWS} rows of the data{place}: "
        f"{describe(error)}"
    )


def place_of_failure(error: BaseException, layers: Mapping[str, nn.Module]) -> str:
    """The line of a norm's file in which an error arose, as `(my_norms.py, line 12)`.

    Args:
        error: an exception that was caught.
        layers: norm layers by name.

    Returns:
        an empty text if the error passed no line of these files.
    """
    for layer in layers.values():
        line = line_in_file(error, Source(_code_of(layer)).path)
        if line is not None:
            return _place(layer, line)
    return ""


@contextmanager
def _watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Seen]]:
    """Note what goes through the layers while this context is open, by their names."""
    seen: dict[str, Seen] = {}

    def note(name: str, layer: nn.Module, inputs: tuple, output: Any) -> None:
        if name not in seen:
            first, *_ = inputs
            seen[name] = Seen(first.detach().clone(), output)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hook = partial(note, name)
            handle = layer.register_forward_hook(hook)
            hooks.callback(handle.remove)
        yield seen


def _check_output(layer: nn.Module, seen: Seen) -> None:
    wanted = _described(seen.input)
    if isinstance(seen.output, Tensor):
        got = _described(seen.output)
    else:
        got = type(seen.output).__name__
    if got == wanted:
        return
    source = Source(_code_of(layer))
    place = _place(layer, source.definition("forward"))
    raise ValueError(
        f"{_name(layer)} must return a tensor of the shape and type of its input, "
        f"{wanted}, got {got}{place}"
    )


def _check_graph(layer: nn.Module) -> None:
    for path in with_graph(layer):
        place = _place(layer, Source(_code_of(layer)).update(path))
        raise ValueError(
            f"{_name(layer)} keeps the graph of past steps in {path}{place}: memory "
            f"grows with every step; compute it under torch.no_grad(), or detach() it"
        )


def _check_copy(layer: nn.Module) -> None:
    try:
        copy.deepcopy(layer)
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(
            f"{_name(layer)} must be something that copy.deepcopy can copy, it fails: "
            f"{error}"
        ) from error


def _check_evaluation(layer: nn.Module, inputs: Tensor) -> None:
    before = snapshot(layer)
    evaluated(layer, inputs)
    changed = changed_paths(before, snapshot(layer))
    if not changed:
        return
    first, *_ = changed
    source = Source(_code_of(layer))
    place = _place(layer, source.update(first))
    raise ValueError(
        f"{_name(layer)} changes {first} in evaluation{place}: the score would depend "
        f"on the order of the samples; change it only if self.training"
    )


def _check_stored_state(layer: nn.Module, fresh: nn.Module, inputs: Tensor) -> None:
    """Refuse a layer whose `state_dict` is not all that it needs in evaluation."""
    before = evaluated(layer, inputs)
    at_start = snapshot(fresh)
    fresh.load_state_dict(layer.state_dict())
    again = evaluated(fresh, inputs)
    if agree(before, again, TOLERANCE):
        return
    found = _changed_attributes(layer, at_start)
    if not found:
        raise ValueError(
            f"{_name(layer)} must give the same output after a round trip through "
            f"state_dict, in evaluation it differs by up to "
            f"{largest_difference(before, again):.2g}; keep its state in buffers and "
            f"parameters"
        )
    first, *_ = found
    names = ", ".join(found)
    source = Source(_code_of(layer))
    place = _place(layer, source.start(first))
    raise ValueError(
        f"{_name(layer)} keeps {names} outside of buffers{place}, so that no "
        f"checkpoint holds it and the stored run has another score; write "
        f"self.register_buffer({first!r}, ...)"
    )


def _unusual(layer: nn.Module, fresh: nn.Module, inputs: Tensor) -> Iterator[str]:
    """Sentences about what changes no score but may surprise.

    `fresh` has the tensors of the layer's `state_dict`.
    """
    first = evaluated(layer, inputs, seed=0)
    second = evaluated(layer, inputs, seed=1)
    if not agree(first, second, TOLERANCE):
        yield (
            f"{_name(layer)} gives other outputs for the same input in evaluation: the "
            f"score of a stored run is one of many"
        )
    found = _changed_attributes(layer, snapshot(fresh))
    if found:
        yield (
            f"{_name(layer)} changes {', '.join(found)} outside of buffers: a resumed "
            f"run starts them anew"
        )


def _changed_attributes(layer: nn.Module, start: Mapping[str, Tensor]) -> list[str]:
    """Ordinary attributes that differ from those of a layer at its start."""
    entries = state_of(layer)
    attributes = []
    for path in changed_paths(start, snapshot(layer)):
        entry = entries.get(path)
        if entry is not None and entry.place == ATTRIBUTE:
            attributes.append(path)
    return attributes


def _described(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{tuple(tensor.shape)} {dtype}"


def _code_of(layer: nn.Module) -> Callable[..., Any]:
    """The class or function that the user wrote."""
    return layer.function if isinstance(layer, FunctionNorm) else type(layer)


def _name(layer: nn.Module) -> str:
    return name_of(_code_of(layer))


def _place(layer: nn.Module, line: int | None) -> str:
    """`(my_norms.py, line 12)` for a message; empty if the line is unknown."""
    path = Source(_code_of(layer)).path
    if path is None or line is None:
        return ""
    file = path.name if path.is_file() else "its cell"
    return f" ({file}, line {line})"
