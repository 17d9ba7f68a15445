"""Examine a layer: all probes, in an order in which causes come before effects."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from normlab.check.averages import probe_averages
from normlab.check.channels import probe_channels
from normlab.check.evaluating import probe_evaluation, probe_mode
from normlab.check.findings import UNKNOWN, Examination, Outcome, Record
from normlab.check.keeping import (
    probe_compile,
    probe_copy,
    probe_device,
    probe_graph,
    probe_input,
    probe_stored,
    probe_strides,
    probe_vmap,
)
from normlab.check.kinds import KINDS, check_kind
from normlab.check.learning import probe_gradient, probe_learned
from normlab.check.limits import (
    probe_constant,
    probe_eps,
    probe_half,
    probe_one_value,
    probe_precision,
)
from normlab.check.notebooks import Cells
from normlab.check.output import WRONG_AXES, detect_kind, probe_call, probe_formula
from normlab.check.properties import PROPERTIES
from normlab.check.source import Source
from normlab.check.subject import Subject, short
from normlab.norms.construction import name_of
from normlab.norms.loading import CODE_ERRORS, BrokenNorm

Probe = Callable[[Subject, Record], None]

# Properties that every layer of a kind has.
OF_EVERY_LAYER = (
    *("construction", "call", "stored", "graph", "copy", "input", "device", "strides"),
)
OF_FORMULAS = ("axes", "output", "eps", "constant", "gradient")
OF_BATCH = (
    *("one_value", "averages", "momentum", "unbiased", "mode", "evaluation", "frozen"),
)
# Without a first call nothing else can be examined.
NO_CALLS = (
    *("call_fails", "needs_more_than_input", "shape_changes", "no_tensor"),
    *("blanks_left", "channels_fixed"),
)
# What can be said about a layer only if its output is right, as far as that.
NEEDS_OUTPUT = ("eps", "precision", "gradient", "half")
PROBES: dict[str, tuple[str, Probe]] = {
    "formula": ("its output", probe_formula),
    "channels": ("other numbers of channels", probe_channels),
    "eps": ("small variances", probe_eps),
    "constant": ("channels that are constant", probe_constant),
    "precision": ("a large mean", probe_precision),
    "learned": ("scale and shift", probe_learned),
    "gradient": ("its gradients", probe_gradient),
    "stored": ("a round trip through state_dict()", probe_stored),
    "graph": ("ten training steps", probe_graph),
    "copy": ("a copy", probe_copy),
    "input": ("its input afterwards", probe_input),
    "device": ("another device", probe_device),
    "strides": ("input that is not contiguous", probe_strides),
    "half": ("input in float16", probe_half),
    "vmap": ("torch.vmap", probe_vmap),
}
BATCH_PROBES: dict[str, tuple[str, Probe]] = {
    "one_value": ("one value per channel", probe_one_value),
    "averages": ("the running averages", probe_averages),
    "mode": ("training and evaluation", probe_mode),
    "evaluation": ("evaluation", probe_evaluation),
}


def examine(
    target: Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    like: str | None = None,
    compiled: bool = False,
    cells: Cells = (),
) -> Examination:
    """Examine a layer.

    Args:
        target: the class or function, see `normlab.norms.loading.load_norm`.
        options: further arguments of its constructor, by name.
        like: the kind of layer that it should be, a key of `KINDS`; None finds out by
            its name, or else by its output.
        compiled: try torch.compile too, which takes a second.
        cells: where its lines were in a notebook, see `normlab.check.notebooks`.

    Raises:
        ValueError: the arguments of its constructor cannot be matched, or there is no
            such kind.
    """
    source = Source(target, cells)
    examination = Examination(name_of(target), str(source.path or ""))
    record = Record(examination, source)
    subject = Subject(target, options or {}, source)
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        try:
            _examine(subject, record, like, compiled)
        finally:
            torch.set_num_threads(threads)
    examination.kind = subject.kind.title
    examination.inputs = [case.name for case in subject.cases]
    examination.show_examples_for(subject.kind.name)
    examination.sort()
    return examination


def broken(
    name: str, message: str, line: int | None = None, like: str | None = None
) -> Examination:
    """The examination of a layer that there is not, as of a file that does not import.

    Args:
        name: of the layer or of its file.
        message: why there is none.
        line: of its file, where it fails.
        like: the kind of layer that it should be; None takes batch norm.

    Raises:
        ValueError: there is no such kind.
    """
    examination = Examination(name)
    source = Source.empty()
    record = Record(examination, source)
    record.found("cannot_be_built", line, message=message.rstrip("."))
    kind = check_kind(like or "batch")
    examination.kind = kind.title
    subject = Subject(lambda: None, {}, source, kind)
    record.unknown("it cannot be built", *_properties_of(subject))
    examination.sort()
    return examination


def _examine(
    subject: Subject, record: Record, like: str | None, compiled: bool
) -> None:
    wanted = None if like is None else check_kind(like)
    if not _can_be_built(subject, record):
        subject.kind = wanted or KINDS["batch"]
        record.unknown("it cannot be built", *_properties_of(subject))
        return
    subject.kind = wanted or detect_kind(subject)
    _run(subject, record, "a first call", probe_call)
    if record.has(*NO_CALLS):
        record.unknown("it cannot be called", *_properties_of(subject))
        return
    probes = dict(PROBES)
    if subject.must_average:
        probes |= BATCH_PROBES
    if compiled:
        probes["compile"] = ("torch.compile", probe_compile)
    for name, (what, probe) in probes.items():
        is_wrong = record.has(*WRONG_AXES)
        is_wrong = is_wrong or not record.is_right("output")
        if name in NEEDS_OUTPUT and subject.kind.formulas and is_wrong:
            record.unknown("its output is wrong already", name)
            continue
        _run(subject, record, what, probe)
    blanks = record.source.ellipses()
    if blanks and record.examination.faults:
        record.found_blanks(blanks)
    for name in _properties_of(subject):
        record.examination.outcomes.setdefault(name, Outcome(UNKNOWN))


def _properties_of(subject: Subject) -> list[str]:
    """Names of the properties that a layer of its kind has to have."""
    kind = subject.kind
    names = list(OF_EVERY_LAYER)
    if kind.formulas:
        names += OF_FORMULAS
        if kind.name != "rms":
            names.append("precision")
    if subject.must_learn:
        names.append("learned")
    if subject.must_average:
        names += OF_BATCH
    return [name for name in PROPERTIES if name in names]


def _can_be_built(subject: Subject, record: Record) -> bool:
    target = subject.target
    if inspect.isclass(target) and not issubclass(target, nn.Module):
        line = record.source.definition_of_class(target.__name__)
        record.found("no_module", line, name=subject.name)
        return False
    try:
        subject.build_for_any_rank()
    except BrokenNorm as error:
        message = str(error).rstrip(".")
        if error.line:
            where = record.source.place(error.line)
            message = message.replace(f"line {error.line}:", f"{where}:")
        record.found("cannot_be_built", error.line, message=message)
        return False
    record.right("construction")
    return True


def _run(subject: Subject, record: Record, what: str, probe: Probe) -> None:
    """Run a probe; what it raises, the layer raises."""
    try:
        probe(subject, record)
    except CODE_ERRORS as error:  # the code of a stranger may raise anything
        line = record.source.passed_by(error)
        record.found("probe_fails", line, what=what, error=short(error))
