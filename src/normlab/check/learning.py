"""What a layer learns, and the gradients that it learns by."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from normlab.check.blanks import joined
from normlab.check.closeness import distance, is_close
from normlab.check.findings import Record
from normlab.check.output import unit_input
from normlab.check.subject import (
    CHANNELS,
    Case,
    Subject,
    attempt,
    call,
    neutralize,
    scale_and_shift,
    short,
)
from normlab.messages import first_line
from normlab.norms.conventions import SCALES, SHIFTS
from normlab.norms.loading import CODE_ERRORS
from normlab.norms.state import PARAMETER, state_of

START_TOLERANCE = 1e-12


def probe_learned(subject: Subject, record: Record) -> None:
    """Whether scale and shift are there, learned, and act as they should."""
    wanted = subject.kind.learns
    if not subject.must_learn:
        return
    layer = subject.build()
    scale, shift = scale_and_shift(layer)
    trained = [one for one in (scale, shift) if one is not None and one.requires_grad]
    if len(trained) < (2 if "shift" in wanted else 1):
        _report_missing(subject, record, layer)
        return
    if not _probe_shapes(subject, record, layer):
        return
    _probe_start(subject, record, layer)
    _probe_effect(subject, record)
    record.right("learned")


def _report_missing(subject: Subject, record: Record, layer: nn.Module) -> None:
    names = [
        path
        for path, entry in state_of(layer).items()
        if path.rpartition(".")[2].lower() in (*SCALES, *SHIFTS)
        and isinstance(entry.value, Tensor)
        and not (entry.place == PARAMETER and entry.value.requires_grad)
    ]
    if names:
        line = record.source.start(names[0])
        record.found("learned_no_parameter", line, names=" and ".join(names))
        return
    line = record.source.definition("__init__")
    has, wanted = _what_is_missing(layer, subject.kind.learns)
    record.found("learned_missing", line, has=has, wanted=wanted)


def _what_is_missing(layer: nn.Module, learns: str) -> tuple[str, str]:
    """What a layer learns, as a sentence, and what it should learn beside that."""
    scale, shift = scale_and_shift(layer)
    names = _names(layer)
    if scale is not None:
        return f"The layer learns a scale, {names[id(scale)]}, and no shift", "a shift"
    if shift is not None:
        return f"The layer learns a shift, {names[id(shift)]}, and no scale", "a scale"
    if names:
        listed = joined(list(names.values()))
        return f"The layer has no {learns}, only {listed}", f"a {learns}"
    return "The layer has no parameters: nothing about it is learned", f"a {learns}"


def _names(layer: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in layer.named_parameters()}


def _probe_shapes(subject: Subject, record: Record, layer: nn.Module) -> bool:
    for parameter in scale_and_shift(layer):
        if parameter is None or parameter.numel() == CHANNELS:
            continue
        name = _names(layer)[id(parameter)]
        record.found(
            "learned_shape",
            record.source.start(name),
            name=name,
            got=tuple(parameter.shape),
            channels=CHANNELS,
        )
        return False
    return True


def _probe_start(subject: Subject, record: Record, layer: nn.Module) -> None:
    for parameter, start in zip(scale_and_shift(layer), (1.0, 0.0), strict=True):
        if parameter is None:
            continue
        values = parameter.detach()
        if bool(((values - start).abs() <= START_TOLERANCE).all()):
            continue
        name = _names(layer)[id(parameter)]
        record.found(
            "learned_start",
            record.source.start(name),
            name=name,
            least=float(values.min()),
            most=float(values.max()),
            wanted="ones" if start else "zeros",
        )


def _probe_effect(subject: Subject, record: Record) -> None:
    """Compare with normalized * scale + shift, for scales and shifts that differ."""
    found = unit_input(subject)
    if found is None:
        return
    unit, _ = found
    layer = subject.build()
    normalized = call(_neutral(subject), unit).detach()
    scale, shift = scale_and_shift(layer)
    generator = torch.Generator().manual_seed(6)
    s = 0.5 + torch.rand(CHANNELS, generator=generator, dtype=torch.float64)
    t = torch.randn(CHANNELS, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        if scale is not None:
            scale.copy_(s.reshape(scale.shape))
        if shift is not None:
            shift.copy_(t.reshape(shift.shape))
    y, error = attempt(layer, unit)
    if y is None:
        line = record.source.passed_by(error)
        record.found("learned_effect", line, found=short(error))
        return
    a = subject.main.along_channels(s)
    b = subject.main.along_channels(t) if shift is not None else torch.zeros(1)
    forms = {
        "": normalized * a + b,
        "the scale is added and the shift multiplied": normalized * b + a,
        "the scale has no effect": normalized + b,
        "the shift has no effect": normalized * a,
        "neither has an effect": normalized,
        "the shift is scaled as well": (normalized + b) * a,
        "the input is divided by the scale": normalized / a + b,
        "the shift is subtracted": normalized * a - b,
    }
    name = _names(layer)[id(scale)] if scale is not None else ""
    line = record.source.affine(name)
    for words, expected in forms.items():
        if is_close(y, expected):
            if words:
                record.found("learned_effect", line, found=words)
            return
    words = f"the output is off by up to {distance(y, forms['']):.3g}"
    record.found("learned_effect", line, found=words)


def _neutral(subject: Subject) -> nn.Module:
    return neutralize(subject.build())


def probe_gradient(subject: Subject, record: Record) -> None:
    """Compare the gradients with numerical ones, and find out what they leave out."""
    case = _smaller(subject.main)
    x = case.draw(7).requires_grad_()
    layer = _neutral(subject)
    y = call(layer, x)
    blocked = _blocked(layer, x, y)
    if blocked:
        line = record.source.cut(last=True)
        record.found("gradient_blocked", line, what=blocked)
        return
    try:
        torch.autograd.gradcheck(
            lambda values: call(_neutral(subject), values),
            (x,),
            eps=1e-3,
            atol=2e-3,
            rtol=1e-2,
        )
    except CODE_ERRORS as error:  # a mismatch, or whatever backward raises
        _report_gradient(subject, record, x, error)
    record.right("gradient")


def _smaller(case: Case) -> Case:
    """The same kind of input with few values, of which each has a large share."""
    shape = (2, CHANNELS, 3, *[1] * (len(case.shape) - 3))
    if len(case.shape) == 2:
        shape = (3, CHANNELS)
    return replace(case, shape=shape) if case.channel_axis == 1 else case


def _blocked(layer: nn.Module, x: Tensor, y: Tensor) -> str:
    """What no gradient reaches: the input, or a parameter; empty if it reaches all."""
    if not y.requires_grad:
        return "anything before the layer"
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    loss = (y * weights).sum()
    parameters = dict(layer.named_parameters())
    learned = {
        name: one
        for name, one in parameters.items()
        if any(one is part for part in scale_and_shift(layer)) and one.requires_grad
    }
    grads = torch.autograd.grad(loss, [x, *learned.values()], allow_unused=True)
    names = ["the input", *learned]
    for name, grad in zip(names, tuple[Any, ...](grads), strict=True):
        if grad is None:  # as torch says with allow_unused, and its types do not
            return name
    return ""


def _report_gradient(
    subject: Subject, record: Record, x: Tensor, error: BaseException
) -> None:
    layer = _neutral(subject)
    y = call(layer, x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    try:
        (grad,) = torch.autograd.grad((y * weights).sum(), x)
    except CODE_ERRORS as failure:
        line = record.source.definition("backward")
        record.found("gradient_wrong", line, error=short(failure))
        return
    for formula in subject.formulas(subject.main, layer):
        eps = subject.eps
        (right,) = torch.autograd.grad((formula(x, eps) * weights).sum(), x)
        for parts in (("mean", "var"), ("var",), ("mean",)):
            form = replace(formula, detached=parts)
            (wrong,) = torch.autograd.grad((form(x, eps) * weights).sum(), x)
            if is_close(grad, wrong, 1e-3):
                which = {"mean": "the mean", "var": "the variance"}
                record.found(
                    "gradient_detached",
                    record.source.cut(),
                    which=" and ".join(which[part] for part in parts),
                    error=distance(wrong, right),
                )
                return
    line = record.source.definition("backward") or record.source.cut()
    record.found("gradient_wrong", line, error=first_line(error)[:160].rstrip(","))
