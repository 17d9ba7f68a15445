"""What comes out of a layer in training: shapes, formula, eps, and limits."""

import inspect

import torch
from torch import Tensor, nn

from normlab.check.channels import report_fixed
from normlab.check.closeness import distance, follows, is_close
from normlab.check.findings import Record
from normlab.check.formulas import WORDS, Formula, Slip, wrong_forms
from normlab.check.kinds import KINDS, OTHER, Kind, kind_by_name
from normlab.check.subject import (
    CASES,
    CHANNELS,
    IMAGES,
    LARGE,
    ROWS,
    SEQUENCES,
    TRAPS,
    VECTORS,
    Case,
    NoTensor,
    Subject,
    attempt,
    call,
    neutralize,
    short,
)
from normlab.norms.construction import FunctionNorm
from normlab.norms.loading import BrokenNorm
from normlab.norms.state import snapshot

# With these, the wrong values share their statistics.
WRONG_AXES = ("wrong_axes", "wrong_reshape", "mean_of_all", "var_of_all")


def probe_call(subject: Subject, record: Record) -> None:
    """Which inputs the layer takes, and whether shape and type stay."""
    extra = needed_arguments(subject)
    if extra:
        line = record.source.definition("forward")
        record.found("needs_more_than_input", line, names=", ".join(extra))
        return
    required = _required_cases(subject)
    errors: dict[Case, BaseException | None] = {}
    for case in _possible_cases(subject):
        y, errors[case] = attempt_case(subject, case, case.draw(1))
        if y is None:
            continue
        if _has_kept_shape(record, case, y):
            subject.cases.append(case)
    if record.has("shape_changes"):
        return
    missing = [case for case in required if errors.get(case) is not None]
    if missing or not subject.cases:
        case = (missing or list(errors))[0]
        _report_failure(subject, record, case, errors[case])
        return
    is_free = subject.rank is None and SEQUENCES not in subject.cases
    if subject.kind.may_be_last and is_free:
        _try_rows(subject)
    _probe_type(subject, record)


def _report_failure(
    subject: Subject, record: Record, case: Case, error: BaseException | None
) -> None:
    """Say why a call fails: there is no output, fixed sizes, or another error."""
    if isinstance(error, NoTensor):
        line = record.source.returned()
        what = short(error)
        record.found("no_tensor", line, shape=case.shape, what=what, error=what)
        return
    if report_fixed(subject, record, case.dim):
        return
    line = record.source.passed_by(error)
    record.found("call_fails", line, shape=case.shape, error=short(error))


def needed_arguments(subject: Subject) -> list[str]:
    """Names of what forward needs beside the input."""
    layer = subject.build_for_any_rank(double=False)
    if isinstance(layer, FunctionNorm):
        return []
    parameters = list(inspect.signature(layer.forward).parameters.values())
    return [
        one.name
        for one in parameters[1:]
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _possible_cases(subject: Subject) -> list[Case]:
    cases = [case for case in CASES if subject.rank in (None, case.dim)]
    if subject.kind.needs_positions:
        cases.remove(VECTORS) if VECTORS in cases else None
    return cases


def _required_cases(subject: Subject) -> list[Case]:
    """The inputs that a layer must take if its signature or name promises it."""
    possible = _possible_cases(subject)
    if subject.rank is not None:
        return possible[:1]
    if subject.takes_dim() and subject.kind.name in ("batch", "layer", "rms"):
        return [case for case in possible if case in (VECTORS, IMAGES)]
    return []


def built_for(subject: Subject, case: Case) -> nn.Module:
    """A new layer for some input, with scale 1 and shift 0."""
    return neutralize(subject.build(case.dim))


def attempt_case(
    subject: Subject, case: Case, x: Tensor
) -> tuple[Tensor | None, BaseException | None]:
    """Build and call a layer; its output, or the exception of either."""
    try:
        layer = built_for(subject, case)
    except BrokenNorm as error:  # it is not made for this rank
        return None, error
    return attempt(layer, x)


def _try_rows(subject: Subject) -> None:
    y, _ = attempt_case(subject, ROWS, ROWS.draw(1))
    if y is not None and y.shape == ROWS.shape:
        subject.cases.append(ROWS)


def _has_kept_shape(record: Record, case: Case, y: Tensor) -> bool:
    if y.shape == case.shape:
        return True
    line = record.source.division()
    record.found("shape_changes", line, shape=case.shape, got=tuple(y.shape))
    return False


def _probe_type(subject: Subject, record: Record) -> None:
    x = subject.main.draw(1)
    for dtype in (torch.float32, torch.float64):
        layer = subject.build(double=dtype == torch.float64)
        y, error = attempt(layer, x.to(dtype))
        if y is None:
            line = record.source.passed_by(error)
            shape = subject.main.shape
            record.found("call_fails", line, shape=shape, error=short(error))
        elif y.dtype != dtype:
            line = record.source.definition("forward")
            record.found("type_changes", line, expected=dtype, got=y.dtype)
        elif not y.isfinite().all():
            line = record.source.division()
            record.found("not_finite", line, shape=subject.main.shape)
    record.right("call")


def detect_kind(subject: Subject) -> Kind:
    """What a layer is compared with: what its name says, or else what it computes."""
    named = kind_by_name(subject.target)
    if named is not None:
        return named
    outputs = {}
    for case in CASES:
        if subject.rank not in (None, case.dim):
            continue
        y, _ = attempt_case(subject, case, case.draw(1, LARGE))
        if y is not None and y.shape == case.shape:
            outputs[case] = (built_for(subject, case), y)
    for kind in KINDS.values():
        if kind is not OTHER and _follows(kind, outputs):
            return kind
    return OTHER


def _follows(kind: Kind, outputs: dict[Case, tuple[nn.Module, Tensor]]) -> bool:
    results = []
    for case, (layer, y) in outputs.items():
        if kind.needs_positions and case is VECTORS:
            continue
        x = case.draw(1, LARGE)
        formulas = kind.for_layer(layer).formulas
        results.append(follows(y, x, formulas))
    return bool(results) and all(results)


def probe_formula(subject: Subject, record: Record) -> None:
    """Compare the output with the formula, and with the wrong forms of it."""
    if not subject.kind.formulas:
        return
    diagnoses: dict[str, list[tuple[Case, Formula | Slip | None]]] = {}
    for case in subject.cases:
        fault, form = _diagnose(subject, case)
        if fault:
            diagnoses.setdefault(fault, []).append((case, form))
    for fault, places in diagnoses.items():
        _report(subject, record, fault, places)
    if not diagnoses:
        _probe_traps(subject, record)
    if not record.has(*WRONG_AXES, "silent_shape"):
        if record.has("other_output", "running_in_training"):
            record.unknown("the output follows no known formula", "axes")
        record.right("axes", ", ".join(case.name for case in subject.cases))
    if not record.has(*WRONG_AXES):
        record.right("output")
    record.unknown("the wrong values share their statistics", "output")


def _diagnose(subject: Subject, case: Case) -> tuple[str, Formula | Slip | None]:
    """The fault of the output for some input; an empty name if there is none."""
    layer = built_for(subject, case)
    x = case.draw(2, LARGE)
    before = snapshot(layer)
    y = call(layer, x)
    right = subject.formulas(case, layer)
    if follows(y, x, right):
        return "", None
    for fault, form in wrong_forms(right, x.ndim):
        if is_close(y, form(x)):
            return fault, form
    after = snapshot(layer)
    if any(_normalized_by(state, x, y, case) for state in (before, after)):
        return "running_in_training", None
    return "other_output", None


def _normalized_by(state: dict[str, Tensor], x: Tensor, y: Tensor, case: Case) -> bool:
    """Whether `y` is `x` normalized by a mean and a variance that a layer holds."""
    means = [value for path, value in state.items() if "mean" in path]
    variances = [value for path, value in state.items() if "var" in path]
    for mean in means:
        for var in variances:
            if mean.numel() == var.numel() == CHANNELS:
                mu = case.along_channels(mean.double())
                deviation = case.along_channels(var.double()).sqrt()
                if is_close(y, (x - mu) / deviation, 1e-4):
                    return True
    return False


def _report(
    subject: Subject,
    record: Record,
    fault: str,
    places: list[tuple[Case, Formula | Slip | None]],
) -> None:
    case, form = places[0]
    layer = built_for(subject, case)
    x = case.draw(2, LARGE)
    y = call(layer, x).detach()
    right = subject.formulas(case, layer)[0]
    by_channel = y.movedim(case.channel_axis, 0).flatten(1)
    n = right.count(case.shape)
    line = record.source.division()
    if fault == "no_division":
        line = record.source.centering()
    if fault in WRONG_AXES:
        line = record.source.statistics()
    if fault == "sum_for_mean":
        line = record.source.summation()
    if fault == "division_first":
        line = record.source.root()
    if fault in ("unbiased_normalization", "root_of_deviation"):
        line = record.source.variance()
    if fault == "running_in_training":
        line = record.source.mentions("training") or line
    record.found(
        fault,
        line,
        title=subject.kind.title,
        cases=" and ".join(one.name for one, _ in places),
        case=case.name,
        found=WORDS[form.axes] if form else "",
        wanted=_words(right),
        n=n,
        ratio=((n - 1) / n) ** 0.5 if n > 1 else 0.0,
        root=n**0.5,
        mean=float(by_channel.mean(1).abs().max()),
        std=float(by_channel.std(1, correction=0).max()),
        least=float(by_channel.std(1, correction=0).min()),
        most=float(by_channel.std(1, correction=0).max()),
        difference=distance(y, right(x)),
    )


def _words(formula: Formula) -> str:
    if formula.groups:
        return "one pair for every group of every sample"
    return WORDS[formula.axes]


def _probe_traps(subject: Subject, record: Record) -> None:
    """Sizes at which a norm along the wrong axis fits by chance."""
    if subject.kind.name != "batch":
        return
    for case, trap in TRAPS.items():
        if subject.rank not in (None, case.dim):
            continue
        y, _ = attempt_case(subject, trap, trap.draw(2, LARGE))
        if y is None or y.shape != trap.shape:
            continue
        right = subject.kind.formulas[0](trap.draw(2, LARGE))
        if not is_close(y, right):
            line = record.source.statistics()
            record.found("silent_shape", line, shape=trap.shape)
            return


def unit_input(subject: Subject) -> tuple[Tensor, Formula] | None:
    """Input whose statistics are exactly 0 and 1, and the formula that it follows."""
    case = subject.main
    layer = built_for(subject, case)
    x = case.draw(3, LARGE)
    for formula in subject.formulas(case, layer):
        if is_close(call(layer, x), formula(x)):
            return formula(formula(x)), formula
    return None
