"""The running averages of a batch norm, and what evaluation makes of them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from normlab.check.findings import Record, named
from normlab.check.output import WRONG_AXES
from normlab.check.subject import (
    CHANNELS,
    Case,
    Subject,
    call,
)
from normlab.norms.state import changed_paths, snapshot, state_of

DEPENDENT = ("momentum", "unbiased", "evaluation")
WRONG_STATISTICS = (
    *(*WRONG_AXES, "other_output", "root_of_deviation", "sum_for_mean"),
)
WRONG_WEIGHTS = ("momentum_reversed", "momentum_large", "momentum_ignored")
# With these, evaluation is off whatever it does with the averages.
WRONG_VALUES = (
    *("averages_weights", "averages_no_decay", "averages_other"),
    *("averages_missing", "averages_not_updated"),
)
FITS = 1e-4  # relative residual of an average
SAME_WEIGHT = 1e-3
LARGEST_WEIGHT = 0.5  # of a new batch; above, an average is nearly its last value
MEAN_WORDS = ("mean", "mu", "avg")
VARIANCE_WORDS = ("var", "std", "sigma")


@dataclass(frozen=True)
class Averages:
    """Paths of the running mean and the running variance in the state of a layer."""

    mean: str
    var: str


@dataclass(frozen=True)
class Fit:
    """How an average moved in one step, as new = keep * old + weight * statistic.

    Attributes:
        keep: weight of the old value.
        weight: weight of the statistic of the batch.
        error: largest residual, relative to the values.
    """

    keep: float
    weight: float
    error: float


def probe_averages(subject: Subject, record: Record) -> None:
    """Which averages there are, how they start and how they move."""
    layer = subject.build()
    before = snapshot(layer)
    call(layer, subject.main.draw(11))
    after = snapshot(layer)
    changed = [
        path
        for path in changed_paths(before, after)
        if path in after and after[path].is_floating_point()
    ]
    averages = find_averages(changed, after)
    if averages is None:
        _report_missing(record, layer, changed)
        record.unknown("there are no running averages", *DEPENDENT)
        return
    _probe_start(record, averages, before)
    if record.has(*WRONG_STATISTICS):
        because = "the statistics of the batch are wrong already"
        record.unknown(because, "averages", "momentum", "unbiased")
        return
    _probe_moves(subject, record, averages, layer)
    if record.has(*WRONG_VALUES):
        record.unknown("the running averages are wrong", *DEPENDENT)


def _probe_moves(
    subject: Subject, record: Record, averages: Averages, layer: nn.Module
) -> None:
    weight = _probe_mean(subject, record, averages)
    if weight is None:
        return
    _probe_momentum(record, layer, averages, weight)
    _probe_option(subject, record, averages, weight)
    for case in subject.cases:
        _probe_variance(subject, record, averages, case, weight)
    record.right("averages")
    record.right("momentum", f"weight {weight:.3g}")
    if not record.has(*WRONG_VALUES):
        record.right("unbiased")


def find_averages(paths: list[str], state: dict[str, Tensor]) -> Averages | None:
    """The running mean and variance among the state that training changes."""
    per_channel = [path for path in paths if state[path].numel() == CHANNELS]
    means = [path for path in per_channel if _has_word(path, MEAN_WORDS)]
    variances = [path for path in per_channel if _has_word(path, VARIANCE_WORDS)]
    if means and variances:
        # A layer may keep the statistics of the last batch besides.
        return Averages(_preferred(means), _preferred(variances))
    if len(per_channel) == 2:
        return Averages(per_channel[0], per_channel[1])
    return None


def _preferred(paths: list[str]) -> str:
    for word in ("running", "moving", "global", "pop", "ema"):
        for path in paths:
            if word in path:
                return path
    return paths[0]


def _has_word(path: str, words: tuple[str, ...]) -> bool:
    name = path.rpartition(".")[2].lower()
    return any(word in name for word in words)


def _report_missing(record: Record, layer: nn.Module, changed: list[str]) -> None:
    words = (*MEAN_WORDS, *VARIANCE_WORDS)
    held = [
        path
        for path, entry in state_of(layer).items()
        if _has_word(path, words) and isinstance(entry.value, Tensor)
    ]
    still = [path for path in held if path not in changed]
    if still:
        line = record.source.update(still[0]) or record.source.start(still[0])
        record.found("averages_not_updated", line, **named(still))
        return
    record.found("averages_missing", record.source.definition("__init__"))


def _probe_start(record: Record, averages: Averages, before: dict[str, Tensor]) -> None:
    for path, wanted in ((averages.mean, 0.0), (averages.var, 1.0)):
        if path not in before:
            continue  # the first batch is the start
        values = before[path].double()
        if bool((values == wanted).all()):
            continue
        got = float(values.flatten()[0])
        line = record.source.start(path)
        record.found("averages_start", line, name=path, got=got, wanted=f"{wanted:g}")


def _statistics(x: Tensor, case: Case) -> tuple[Tensor, Tensor]:
    values = x.movedim(case.channel_axis, 0).flatten(1)
    return values.mean(1), values.var(1, correction=0)


def _fit(old: Tensor, new: Tensor, statistic: Tensor) -> Fit:
    """Least squares over the channels; one unknown if the old values are all equal 0"""
    old = old.double().flatten()
    new = new.double().flatten()
    columns = torch.stack([old, statistic], 1)
    if bool((old == 0).all()):
        weight = float((new @ statistic) / (statistic @ statistic))
        keep = 1 - weight
        fitted = weight * statistic
    else:
        solution = torch.linalg.lstsq(columns, new.unsqueeze(1)).solution.flatten()
        keep, weight = solution.tolist()
        fitted = columns @ solution
    scale = float(new.abs().max().clamp(min=1e-12))
    return Fit(keep, weight, float((fitted - new).abs().max()) / scale)


def _two_steps(subject: Subject, case: Case) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Inputs of two training steps, each with the state after it; first the start."""
    layer = subject.build(case.dim)
    steps = [(torch.zeros(0), snapshot(layer))]
    for seed in (11, 12):
        x = case.draw(seed)
        call(layer, x)
        steps.append((x, snapshot(layer)))
    return steps


def _probe_mean(subject: Subject, record: Record, averages: Averages) -> float | None:
    """Weight of the new batch in the running mean; None if it is no average."""
    case = subject.main
    (_, start), (x1, first), (x2, second) = _two_steps(subject, case)
    zeros = torch.zeros(CHANNELS, dtype=torch.float64)
    old = start.get(averages.mean, zeros).double().flatten()
    one = _fit(old, first[averages.mean], _statistics(x1, case)[0])
    two = _fit(first[averages.mean], second[averages.mean], _statistics(x2, case)[0])
    line = record.source.update(averages.mean)
    if one.error < FITS and two.error < FITS:
        if abs(two.keep + two.weight - 1) < SAME_WEIGHT:
            return two.weight
        if abs(two.keep - 1) < SAME_WEIGHT:
            record.found("averages_no_decay", line, name=averages.mean)
            return None
    momentum = getattr(subject.build(), "momentum", None)
    weight = momentum if isinstance(momentum, float) else 0.1
    if one.error < FITS and two.error < FITS:
        record.found(
            "averages_weights",
            line,
            name=averages.mean,
            case=case.name,
            n=case.values_per_channel,
            keep=two.keep,
            got=two.weight,
            what="mean",
            wanted_keep=1 - weight,
            wanted=weight,
        )
        return None
    record.found(
        "averages_other",
        line,
        name=averages.mean,
        what="the means of the channels",
        got=_listed(first[averages.mean]),
        wanted=_listed(weight * _statistics(x1, case)[0]),
        momentum=weight,
    )
    return None


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.flatten().tolist())


def _probe_momentum(
    record: Record, layer: nn.Module, averages: Averages, weight: float
) -> None:
    momentum = _momentum(layer)
    line = record.source.update(averages.mean)
    figures = {"momentum": momentum, "weight": weight}
    if momentum is None or abs(weight - momentum) < 1e-3:
        if weight > LARGEST_WEIGHT + 1e-3:
            record.found("momentum_large", line, weight=weight)
    elif abs(weight - (1 - momentum)) < 1e-3:
        too_large = weight > LARGEST_WEIGHT
        fault = "momentum_reversed" if too_large else "momentum_convention"
        record.found(fault, line, **figures)
    else:
        record.found("momentum_ignored", line, **figures)
    record.right("convention")


def _probe_option(
    subject: Subject, record: Record, averages: Averages, weight: float
) -> None:
    """Whether another momentum gives another weight."""
    momentum = 0.3
    other = subject.with_option("momentum", momentum)
    if other is None or record.has("momentum_ignored"):
        return
    _, (_, first), (x, second) = _two_steps(other, subject.main)
    old = first[averages.mean]
    new = second[averages.mean]
    fit = _fit(old, new, _statistics(x, subject.main)[0])
    if abs(fit.weight - weight) < 1e-6 and abs(weight - momentum) > 1e-3:
        line = record.source.update(averages.mean)
        record.found("momentum_ignored", line, momentum=momentum, weight=weight)


def _momentum(layer: nn.Module) -> float | None:
    for name in ("momentum", "mom", "decay", "alpha"):
        value = getattr(layer, name, None)
        if isinstance(value, float) and 0 < value < 1:
            return value
    return None


def _probe_variance(
    subject: Subject, record: Record, averages: Averages, case: Case, weight: float
) -> None:
    """Which variance is averaged: the unbiased one, or another multiple of it.

    Args:
        subject: the layer.
        record: what was found.
        averages: its averages.
        case: the input.
        weight: of a new batch in the running mean.
    """
    _, (_, first), (x2, second) = _two_steps(subject, case)
    var = _statistics(x2, case)[1]
    fit = _fit(first[averages.var], second[averages.var], var)
    line = record.source.update(averages.var)
    if not fit.error < FITS:
        record.found(
            "averages_other",
            line,
            name=averages.var,
            what="the variances of the channels",
            got=_listed(second[averages.var]),
            wanted=_listed(0.9 * first[averages.var].flatten() + 0.1 * var),
            momentum=0.1,
        )
    elif abs(fit.keep - 1) < 1e-6:
        record.found("averages_no_decay", line, name=averages.var)
    else:
        _report_weights(record, averages, case, fit, weight)


def _report_weights(
    record: Record, averages: Averages, case: Case, fit: Fit, weight: float
) -> None:
    """Compare the weights of the variance with those of the mean, and n / (n - 1)."""
    line = record.source.update(averages.var)
    n = case.values_per_channel
    samples = case.shape[0]
    ratio = n / (n - 1)
    factor = fit.weight / (1 - fit.keep)
    known = {
        "": ratio,
        "biased_variance": 1.0,
        "wrong_count": samples / (samples - 1),
        "corrected_twice": ratio**2,
        "corrected_inversely": 1 / ratio,
    }
    close = [name for name, value in known.items() if abs(factor - value) < 1e-4]
    is_average = 0 <= fit.keep < 1 and close
    has_weights_of_mean = abs(fit.keep - (1 - weight)) < SAME_WEIGHT
    figures = {"case": case.name, "got": factor, "n": n, "ratio": ratio}
    # If the weight in the mean is wrong, that was said, and this one may be right.
    if is_average and not has_weights_of_mean and not record.has(*WRONG_WEIGHTS):
        record.found(
            "averages_disagree",
            line,
            var_name=averages.var,
            mean_name=averages.mean,
            got=1 - fit.keep,
            weight=weight,
        )
    if not is_average:
        figures |= {
            "name": averages.var,
            "what": "biased variance",
            "keep": fit.keep,
            "got": fit.weight,
            "wanted_keep": 1 - weight,
            "wanted": weight * ratio,
        }
        record.found("averages_weights", line, **figures)
    elif close[0]:
        record.found(close[0], line, **figures)
