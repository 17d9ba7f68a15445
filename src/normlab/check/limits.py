"""How a layer copes with variances that are small, zero or far from the mean."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from normlab.check.closeness import distance, least_error
from normlab.check.findings import Record
from normlab.check.output import built_for, unit_input
from normlab.check.subject import (
    CHANNELS,
    Subject,
    attempt,
    call,
    neutralize,
    short,
)

OTHER_EPS = 1e-2
SMALL_VARIANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def probe_eps(subject: Subject, record: Record) -> None:
    """Where eps is added, and how large it is."""
    found = unit_input(subject)
    if found is None:
        return
    unit, _ = found
    inside = []
    outside = []
    shifts = []
    layer = built_for(subject, subject.main)
    for variance in SMALL_VARIANCES:
        y = call(built_for(subject, subject.main), unit * variance**0.5).detach()
        factor = float((y * unit).sum() / unit.square().sum())
        if not 0 < factor < 1 + 1e-6:
            return
        inside.append(variance / factor**2 - variance)
        outside.append(variance**0.5 / factor - variance**0.5)
        shifts.append(float((y - factor * unit).mean()))
    eps = sorted(inside)[len(inside) // 2]
    if _are_equal(inside):
        subject.eps = eps
    declared = _declared_eps(layer)
    if _are_equal(shifts) and abs(shifts[0]) > 1e-9:
        record.found("eps_after", record.source.division(), shift=shifts[0])
    elif max(inside) < 1e-9 * SMALL_VARIANCES[0]:
        return  # there is none, or next to none: constant channels tell which
    elif not _are_equal(inside) and _are_equal(outside):
        variance = SMALL_VARIANCES[-1]
        record.found(
            "eps_outside",
            record.source.root(),
            var=variance,
            got=variance**0.5 + outside[0],
            wanted=(variance + outside[0]) ** 0.5,
        )
    elif declared is not None and _are_equal(inside) and not 0.9 < eps / declared < 1.1:
        line = record.source.root()
        record.found("eps_ignored", line, declared=declared, measured=eps)
    elif _are_equal(inside) and _ignores_eps(subject, unit, eps):
        line = record.source.root()
        record.found("eps_ignored", line, declared=OTHER_EPS, measured=eps)
    record.right("eps", f"eps = {eps:.3g}")


def _are_equal(values: list[float]) -> bool:
    least = min(values)
    most = max(values)
    return most - least <= 0.05 * max(abs(most), abs(least))


def _ignores_eps(subject: Subject, unit: Tensor, eps: float) -> bool:
    """Whether another eps changes nothing."""
    for name in ("eps", "epsilon"):
        other = subject.with_option(name, OTHER_EPS)
        if other is None:
            continue
        variance = SMALL_VARIANCES[2]
        y = call(built_for(other, subject.main), unit * variance**0.5).detach()
        factor = float((y * unit).sum() / unit.square().sum())
        return abs(variance / factor**2 - variance - eps) < 0.01 * eps
    return False


def _declared_eps(layer: nn.Module) -> float | None:
    for name in ("eps", "epsilon"):
        value = getattr(layer, name, None)
        if isinstance(value, float) and value > 0:
            return value
    return None


def probe_constant(subject: Subject, record: Record) -> None:
    """Input without any variance."""
    layer = built_for(subject, subject.main)
    value = 0.0 if subject.kind.name == "rms" else 3.0
    x = torch.full(subject.main.shape, value, dtype=torch.float64, requires_grad=True)
    y, error = attempt(layer, x)
    if y is None:
        line = record.source.passed_by(error)
        what = "channels that are constant"
        record.found("probe_fails", line, what=what, error=short(error))
        return
    line = record.source.root()
    if not y.isfinite().all():
        got = "NaN" if bool(y.isnan().any()) else "infinity"
        record.found("no_eps", line, got=got)
    elif y.requires_grad and not record.has("eps_outside", "eps_after"):
        weights = torch.linspace(0, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        (grad,) = torch.autograd.grad((y * weights).sum(), x, allow_unused=True)
        if grad is not None and not grad.isfinite().all():
            record.found("constant_gradient", line)
    record.right("constant")
    if record.is_right("constant"):
        record.right("eps", "next to nothing")
    record.unknown("there is none", "eps")


def probe_precision(subject: Subject, record: Record) -> None:
    """Input in float32 whose mean is large against its deviation."""
    case = replace(subject.main)
    layer = neutralize(subject.build(double=False))
    x = (case.draw(4, offset=0.0) + 3000).float()
    if not subject.kind.formulas or subject.kind.name == "rms":
        return
    y, _ = attempt(layer, x)
    if y is None:
        return
    formulas = subject.formulas(case, layer)
    errors = [distance(y, formula(x.double(), 1e-5)) for formula in formulas]
    if min(errors) > 0.02:
        record.found("cancellation", record.source.variance(), error=min(errors))
    record.right("precision")


def probe_one_value(subject: Subject, record: Record) -> None:
    """One value per channel in training, whose variance is 0."""
    if subject.kind.name != "batch":
        return
    shape = (1, CHANNELS, *[1] * (len(subject.main.shape) - 2))
    layer = subject.build()
    x = torch.full(shape, 3.0, dtype=torch.float64)
    y, _ = attempt(layer, x)
    if y is not None:
        got = "NaN" if bool(y.isnan().any()) else "the shift alone"
        line = record.source.definition("forward")
        record.found("one_value_silent", line, shape=shape, got=got)
    record.right("one_value")


def probe_half(subject: Subject, record: Record) -> None:
    """Input in float16 whose squares overflow."""
    if not subject.kind.formulas:
        return
    layer = neutralize(subject.build(double=False)).half()
    x = subject.main.draw(5, scale=300.0).half()
    y, _ = attempt(layer, x)
    if y is None or y.dtype != torch.float16:
        return  # no kernel for it on this machine, or a type that was reported on
    formulas = subject.formulas(subject.main, layer)
    error = least_error(y, x.double(), formulas)
    if error > 0.05:
        got = "zeros" if bool((y == 0).all()) else "an output that is not finite"
        if y.isfinite().all() and bool((y != 0).any()):
            got = f"an output that is off by {error:.2g}"
        record.found("half_overflow", record.source.variance(), got=got)
    record.right("half")
