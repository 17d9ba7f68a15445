"""Whether a layer works for other numbers of channels too."""

from torch import Tensor

from normlab.check.blanks import joined
from normlab.check.closeness import follows, least_error
from normlab.check.findings import Record
from normlab.check.subject import (
    CHANNELS,
    LARGE,
    Case,
    Subject,
    attempt,
    neutralize,
    short,
)
from normlab.norms.loading import BrokenNorm
from normlab.norms.state import snapshot

MANY = 8
COUNTS_OF_BATCH = (MANY, 1)  # other norms may need more than one channel


def fixed_state(subject: Subject, dim: int) -> list[str]:
    """Parameters and buffers that have the same size for every number of channels."""
    try:
        few = snapshot(subject.build(dim))
        many = snapshot(subject.build(dim, channels=MANY))
    except BrokenNorm:
        return []
    return [
        path
        for path, value in few.items()
        if value.numel() > 1 and path in many and many[path].shape == value.shape
    ]


def report_fixed(subject: Subject, record: Record, dim: int) -> bool:
    """Report state whose size does not follow the number of channels, if there is."""
    names = fixed_state(subject, dim)
    if not names:
        return False
    size = tuple(snapshot(subject.build(dim))[names[0]].shape)
    record.found(
        "channels_fixed",
        record.source.start(names[0]),
        names=joined(names),
        have="has" if len(names) == 1 else "have",
        few=CHANNELS,
        many=MANY,
        size=size,
    )
    return True


def probe_channels(subject: Subject, record: Record) -> None:
    """Call layers with other numbers of channels."""
    counts = COUNTS_OF_BATCH if subject.kind.name == "batch" else (MANY,)
    for count in counts:
        for case in subject.cases:
            if not _takes(subject, record, case, count):
                return


def _takes(subject: Subject, record: Record, case: Case, count: int) -> bool:
    other = case.with_channels(count)
    x = other.draw(7, LARGE)
    y = None
    error: BaseException | None
    try:
        layer = neutralize(subject.build(case.dim, channels=count))
    except BrokenNorm as broken:
        error = broken
    else:
        y, error = attempt(layer, x)
    if y is None or y.shape != x.shape:
        _report_limit(subject, record, other, count, y, error)
        return False
    formulas = subject.formulas(other, layer)
    if not formulas or not record.is_right("output", "axes"):
        return True
    if follows(y, x, formulas):
        return True
    record.found(
        "channels_output",
        record.source.returned(),
        title=subject.kind.title,
        count=_channels(count),
        few=CHANNELS,
        difference=least_error(y, x, formulas),
    )
    return False


def _report_limit(
    subject: Subject,
    record: Record,
    case: Case,
    count: int,
    y: Tensor | None,
    error: BaseException | None,
) -> None:
    if report_fixed(subject, record, case.dim):
        return
    line = record.source.passed_by(error)
    result = f"ends in an error: {short(error)}"
    if y is not None:
        result = f"gives output of shape {tuple(y.shape)}"
    record.found(
        "channels_limited",
        line or record.source.returned(),
        count=_channels(count),
        few=CHANNELS,
        shape=case.shape,
        result=result,
    )


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"
