"""What a layer keeps from step to step, and what it does to things around it."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from normlab.check.closeness import distance, is_close
from normlab.check.findings import Record, named
from normlab.check.subject import CHANNELS, Subject, attempt, call, short, trained
from normlab.norms.loading import CODE_ERRORS
from normlab.norms.state import (
    ATTRIBUTE,
    BUFFER,
    PARAMETER,
    changed_paths,
    graph_size,
    snapshot,
    state_of,
    with_graph,
)


def probe_stored(subject: Subject, record: Record) -> None:
    """Whether a layer that loads the state of another evaluates as that one does."""
    layer = trained(subject)
    before = snapshot(subject.build())
    entries = state_of(layer)
    changed = [
        path for path in changed_paths(before, snapshot(layer)) if path in entries
    ]
    trainable = [path for path in changed if entries[path].place == PARAMETER]
    changed = [path for path in changed if path not in trainable]
    averages = list(filter(_is_average, trainable))
    if averages and any(entries[path].value.requires_grad for path in averages):
        line = record.source.start(averages[0])
        record.found("state_parameter", line, **named(averages))
        return

    twin = subject.build()
    try:
        twin.load_state_dict(copy_of(layer.state_dict()))
    except CODE_ERRORS as error:  # shapes that differ, or hooks of the layer
        line = record.source.update(changed[0]) if changed else None
        text = " ".join(str(error).split())[:160]
        record.found("state_refused", line, error=text)
        return
    x = subject.main.draw(51)
    with torch.no_grad():
        expected, _ = attempt(layer.eval(), x)
        got, _ = attempt(twin.eval(), x)
    if expected is None or got is None or is_close(got, expected, 1e-9):
        record.right("stored")
        return
    _report_lost(record, layer, changed, distance(got, expected))
    record.right("stored")


def copy_of(state: dict[str, Any]) -> dict[str, Any]:
    """Copies of the tensors of a state dict, without their graphs."""
    return {
        key: value.detach().clone() if isinstance(value, Tensor) else value
        for key, value in state.items()
    }


def _is_average(path: str) -> bool:
    name = path.lower()
    return any(word in name for word in ("mean", "var", "running", "moving", "std"))


def _report_lost(
    record: Record, layer: nn.Module, changed: list[str], difference: float
) -> None:
    entries = state_of(layer)
    lost = [path for path in changed if path not in layer.state_dict()]
    lost = [path for path in lost if entries[path].place != PARAMETER]
    per_channel = [path for path in lost if entries[path].tensor().numel() == CHANNELS]
    averages = list(filter(_is_average, per_channel))
    lost = averages or per_channel or lost
    if not lost:
        return
    line = record.source.start(lost[0]) or record.source.update(lost[0])
    if entries[lost[0]].place == BUFFER:
        record.found("state_not_stored", line, difference=difference, **named(lost))
        return
    places = "an ordinary attribute" if len(lost) == 1 else "ordinary attributes"
    figures = named(lost) | {"places": places}
    record.found("state_attribute", line, difference=difference, **figures)


def probe_graph(subject: Subject, record: Record) -> None:
    """Whether the graph of a step is reachable from what the layer keeps."""
    layer = subject.build()
    call(layer, subject.main.draw(61).requires_grad_())
    held = with_graph(layer)
    if held:
        first = _size(layer, held)
        for seed in range(62, 71):
            call(layer, subject.main.draw(seed).requires_grad_())
        later = _size(layer, held)
        averages = list(filter(_is_average, held)) or held
        line = record.source.update(averages[0])
        record.found(
            "graph_kept", line, names=" and ".join(averages), first=first, later=later
        )
    record.right("graph")


def _size(layer: nn.Module, paths: list[str]) -> int:
    entries = state_of(layer)
    return graph_size([entries[path].value for path in paths if path in entries])


def probe_copy(subject: Subject, record: Record) -> None:
    """Whether a layer that has been trained can be copied."""
    if record.has("graph_kept"):
        record.unknown("it holds a graph, which cannot be copied", "copy")
        return
    layer = subject.build()
    call(layer, subject.main.draw(71).requires_grad_())
    try:
        copied = copy.deepcopy(layer)
    except CODE_ERRORS as error:  # whatever the attributes of a layer raise
        record.found("copy_fails", error=short(error))
        return
    x = subject.main.draw(72)
    y, _ = attempt(copied.eval(), x)
    expected, _ = attempt(layer.eval(), x)
    if y is None or expected is None:
        is_same = y is expected
    else:
        is_same = is_close(y, expected, 1e-9)
    if not is_same:
        record.found("copy_fails", error="the copy evaluates differently")
    record.right("copy")


def probe_input(subject: Subject, record: Record) -> None:
    """Whether the input is left alone."""
    x = subject.main.draw(81)
    before = x.clone()
    for training in (True, False):
        layer = trained(subject).train(training)
        with torch.no_grad():
            layer(x)
        if not torch.equal(x, before):
            line = record.source.in_place_on_input()
            record.found("input_overwritten", line, difference=distance(x, before))
            return
    record.right("input")


def probe_device(subject: Subject, record: Record) -> None:
    """Whether forward makes tensors elsewhere than on the device of its input.

    The device is "meta", which every machine has: shapes are computed, values are not.
    """
    if record.has("state_attribute"):
        record.unknown("state in attributes is not moved", "device")
        return
    layer = subject.build(double=False)
    entries = state_of(layer).values()
    outside = [one for one in entries if one.place == ATTRIBUTE]
    held = [one.path for one in outside if isinstance(one.value, Tensor)]
    _, error = attempt(layer.to("meta"), subject.main.draw(1).float().to("meta"))
    if error is not None and _is_about_devices(error):
        line = record.source.passed_by(error)
        if held:
            names = " and ".join(held)
            reason = f"{names} stays on the CPU, since it is no buffer"
        else:
            reason = short(error)
        record.found("device_fixed", line, error=reason)
    record.right("device")


def _is_about_devices(error: BaseException) -> bool:
    text = str(error).lower()
    return "same device" in text or ("cpu" in text and "meta" in text)


def probe_strides(subject: Subject, record: Record) -> None:
    """Whether the order of the values in memory matters."""
    case = next((one for one in subject.cases if len(one.shape) > 2), subject.main)
    x = case.draw(91)
    last = x.ndim - 1
    strided = x.transpose(0, last).contiguous().transpose(0, last)
    expected, _ = attempt(subject.build(case.dim), x)
    got, error = attempt(subject.build(case.dim), strided)
    if expected is None:
        return
    if got is None:
        line = record.source.passed_by(error)
        record.found("strides_refused", line, error=short(error))
    elif not is_close(got, expected) and not _is_random(subject):
        line = record.source.statistics()
        record.found("strides_wrong", line, difference=distance(got, expected))
    record.right("strides")


def _is_random(subject: Subject) -> bool:
    """Whether two calls with different random numbers give different outputs."""
    x = subject.main.draw(92)
    outputs = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            outputs.append(subject.build()(x.clone()))
    return not torch.equal(*outputs)


def probe_vmap(subject: Subject, record: Record) -> None:
    """Whether stacked layers can be called at once."""
    faults = ("state_attribute", "graph_kept", "copy_fails", "device_fixed")
    if record.has(*faults):
        return
    layers = [subject.build() for _ in range(2)]
    x = torch.stack([subject.main.draw(seed) for seed in (95, 96)])
    expected = torch.stack([call(subject.build(), part) for part in x]).detach()
    try:
        parameters, buffers = torch.func.stack_module_state(layers)
        skeleton = copy.deepcopy(layers[0]).to("meta")

        def compute(parameters: Any, buffers: Any, values: Tensor) -> Tensor:
            state = (parameters, buffers)
            y: Tensor = torch.func.functional_call(skeleton, state, (values,))
            return y

        mapped = torch.func.vmap(compute, randomness="different")
        got = mapped(parameters, buffers, x)
    except CODE_ERRORS as error:  # of torch, which has many reasons
        line = record.source.passed_by(error)
        record.found("vmap_fails", line, error=short(error))
        return
    if subject.kind.formulas and not is_close(got, expected, 1e-6):
        line = record.source.statistics()
        record.found("vmap_fails", line, error="the results differ")
    record.right("vmap")


def probe_compile(subject: Subject, record: Record) -> None:
    """Whether the layer becomes one graph of torch.compile."""
    if record.has("graph_kept", "state_attribute"):
        return
    x = subject.main.draw(97).float()
    layer = subject.build(double=False)
    expected = call(subject.build(double=False), x).detach()
    try:
        compiled: Any = torch.compile(layer, fullgraph=True, backend="eager")
        got = call(compiled, x).detach()
    except CODE_ERRORS as error:  # of the compiler, which has many reasons
        line = record.source.passed_by(error)
        record.found("compile_fails", line, error=short(error))
        return
    finally:
        torch.compiler.reset()
    if not is_close(got, expected, 1e-4):
        record.found("compile_fails", error="the results differ")
    record.right("compile")
