"""What evaluation makes of the running averages of a batch norm."""

import inspect

import torch
from torch import Tensor

from normlab.check.averages import Averages, find_averages
from normlab.check.closeness import distance, is_close
from normlab.check.findings import Record, named
from normlab.check.subject import (
    Subject,
    attempt,
    call,
    neutralize,
    scale_and_shift,
    short,
    trained,
)
from normlab.norms.state import ATTRIBUTE, PARAMETER, changed_paths, snapshot, state_of


def probe_mode(subject: Subject, record: Record) -> None:
    """Whether eval() decides between the batch and the running averages."""
    uses_batch = {}
    updates = {}
    for training in (True, False):
        for grad in (True, False):
            key = (training, grad)
            uses_batch[key], updates[key] = _behaviour(subject, training, grad)
    by_grad = all((uses_batch[key] > 1e-6) == key[1] for key in uses_batch)
    after_eval = max(uses_batch[False, True], uses_batch[False, False])
    source = record.source
    if by_grad:
        line = source.mentions("is_grad_enabled") or source.definition("forward")
        record.found("mode_from_grad", line)
    elif after_eval > 1e-6 and not _is_by_update(uses_batch, updates):
        name = _mode_argument(subject)
        line = source.mentions("training") or source.definition("forward")
        if name:
            record.found("mode_argument", source.definition("forward"), name=name)
        else:
            record.found("batch_in_evaluation", line, difference=after_eval)
    elif updates[True, True] and not updates[True, False]:
        line = source.mentions("is_grad_enabled") or source.definition("forward")
        record.found("one_mode", line)
    record.right("mode")
    if record.has("mode_from_grad", "batch_in_evaluation", "mode_argument"):
        record.unknown("eval() does not change the mode", "evaluation")
    _probe_frozen(record, updates)


def _is_by_update(
    uses_batch: dict[tuple[bool, bool], float],
    updates: dict[tuple[bool, bool], list[str]],
) -> bool:
    """Whether the batch acts on evaluation only through averages that it has moved."""
    after_eval = max(uses_batch[False, True], uses_batch[False, False])
    return bool(updates[False, True]) and after_eval < 0.5 * uses_batch[True, True]


def _behaviour(subject: Subject, training: bool, grad: bool) -> tuple[float, list[str]]:
    """How far a sample's output depends on the others, and what a call changes."""
    layer = trained(subject).train(training)
    twin = trained(subject).train(training)
    x = subject.main.draw(21)
    other = torch.cat([x[:2], 3 * subject.main.draw(22)[2:]])
    before = snapshot(layer)
    with torch.set_grad_enabled(grad):
        y = call(layer, x)
        changed = changed_paths(before, snapshot(layer))
        z = call(twin, other)
        again = call(twin, x)
    entries = state_of(layer)
    if distance(y, again) < 1e-9:  # what changed in attributes has no effect
        changed = [
            path
            for path in changed
            if path in entries and entries[path].place != ATTRIBUTE
        ]
    return distance(y[:2], z[:2]), changed


def _mode_argument(subject: Subject) -> str:
    """The name of an argument of forward that chooses the mode; empty if none does."""
    layer = subject.build()
    names = list(inspect.signature(layer.forward).parameters)[1:]
    known = ("training", "is_training", "train", "mode", "is_train", "train_mode")
    return next((name for name in names if name.lower() in known), "")


def _probe_frozen(record: Record, updates: dict[tuple[bool, bool], list[str]]) -> None:
    if record.has("mode_from_grad", "mode_argument"):
        record.unknown("eval() does not change the mode", "frozen")
        return
    changed = updates[False, True] or updates[False, False]
    if changed:
        names = [path for path in changed if "num_batches" not in path] or changed
        line = record.source.update(names[0])
        record.found("updates_in_evaluation", line, **named(names))
    record.right("frozen")


def probe_evaluation(subject: Subject, record: Record) -> None:
    """Compare evaluation with the formula over the running averages."""
    if "evaluation" in record.examination.outcomes:
        return  # something else keeps it from being known
    layer = trained(subject)
    if record.has("learned_effect"):
        neutralize(layer)
    before = snapshot(subject.build())
    state = snapshot(layer)
    changed = [
        path
        for path in changed_paths(before, state)
        if path in state and state_of(layer)[path].place != PARAMETER
    ]
    averages = find_averages(changed, state) or find_averages(
        [path for path, value in state.items() if value.is_floating_point()], state
    )
    if record.has("learned_shape"):
        record.unknown("scale or shift have another size", "evaluation")
        return
    if averages is None or record.has("averages_not_updated"):
        record.unknown("there are no running averages", "evaluation")
        return
    case = subject.main
    layer.eval()
    x = case.draw(41, 10.0)
    y, error = attempt(layer, x)
    if record.has("updates_in_evaluation"):
        state = snapshot(layer)
    if y is None:
        line = record.source.passed_by(error)
        record.found("probe_fails", line, what="evaluation", error=short(error))
        record.unknown("evaluation ends in an error", "evaluation")
        return
    mean = case.along_channels(state[averages.mean].double())
    var = case.along_channels(state[averages.var].double())
    normalized = (x - mean) / (var + subject.eps).sqrt()
    scale, shift = (
        None if one is None else case.along_channels(one.detach())
        for one in scale_and_shift(layer)
    )
    a = torch.ones(1) if scale is None else scale
    b = torch.zeros(1) if shift is None else shift
    _compare_evaluation(record, averages, y, normalized, a, b, (x - mean) / var)
    record.right("evaluation")


def _compare_evaluation(
    record: Record,
    averages: Averages,
    y: Tensor,
    normalized: Tensor,
    a: Tensor,
    b: Tensor,
    by_variance: Tensor,
) -> None:
    tolerance = 1e-3 if record.has("eps_outside", "eps_ignored", "no_eps") else 2e-4
    if is_close(y, normalized * a + b, tolerance):
        return
    line = record.source.division()
    unscaled = {
        "neither scale nor shift": normalized,
        "the shift": normalized * a,
        "the scale": normalized + b,
    }
    for what, expected in unscaled.items():
        if is_close(y, expected, tolerance):
            record.found("evaluation_unscaled", line, what=what)
            return
    if record.has("eps_after") or not record.is_right("output"):
        record.unknown("the formula is wrong in training already", "evaluation")
        return
    found = ""
    if is_close(y, by_variance * a + b, 1e-2):
        found = "; it divides by the running variance, without its root"
    record.found(
        "other_evaluation",
        line,
        mean_name=averages.mean,
        var_name=averages.var,
        difference=distance(y, normalized * a + b),
        found=found,
    )
