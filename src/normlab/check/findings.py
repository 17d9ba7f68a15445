"""What an examination has found about a layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from normlab.check.blanks import is_of_blank, joined
from normlab.check.fault import example_for
from normlab.check.faults import FAULTS
from normlab.check.properties import PROPERTIES
from normlab.check.source import Source

RIGHT = "right"
WRONG = "wrong"
REMARK = "remark"
UNKNOWN = "unknown"  # not examined, because of another fault


def named(names: Sequence[str]) -> dict[str, str]:
    """Names for a sentence, and the verb that fits their number."""
    return {"names": joined(list(names)), "are": "is" if len(names) == 1 else "are"}


@dataclass(frozen=True)
class Finding:
    """One fault of a layer.

    Attributes:
        fault: its name, see `normlab.check.faults`.
        property_name: what the layer lacks, see `normlab.check.properties`.
        sentence: what is wrong, with the measured figures.
        fix: what to change, in words.
        why: why it matters.
        code: an example of the fix; empty if there is none.
        line: the likely line of the file; None if unknown.
        text: that line, without indentation.
        place: the line in words, `line 12` or `cell 3, line 5`; empty if unknown.
    """

    fault: str
    property_name: str
    sentence: str
    fix: str
    why: str
    code: str = ""
    line: int | None = None
    text: str = ""
    place: str = ""

    @property
    def is_remark(self) -> bool:
        """Whether it costs nothing."""
        return PROPERTIES[self.property_name].points == 0


@dataclass(frozen=True)
class Outcome:
    """What is known about one property.

    Attributes:
        status: right, wrong, remark or unknown.
        note: a measured figure, or why it is unknown.
    """

    status: str
    note: str = ""


@dataclass
class Examination:
    """Everything that was found about a layer.

    Attributes:
        name: of the class or function.
        path: its file; empty if unknown.
        kind: title of what it was compared with.
        inputs: the inputs that it takes, such as "(N, C)".
        outcomes: by property; properties that its kind does not have are left out.
        findings: in the order of the properties.
    """

    name: str
    path: str = ""
    kind: str = ""
    inputs: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """The findings that cost points."""
        return [finding for finding in self.findings if not finding.is_remark]

    @property
    def remarks(self) -> list[Finding]:
        """The findings that cost none."""
        return [finding for finding in self.findings if finding.is_remark]

    @property
    def points(self) -> int:
        """Points that the layer has earned."""
        return sum(earned for _, earned, _ in self.points_by_property())

    @property
    def possible(self) -> int:
        """Points that a layer of its kind can earn."""
        return sum(possible for _, _, possible in self.points_by_property())

    def points_by_property(self) -> Iterator[tuple[str, int, int]]:
        """Name, earned and possible points of every property that has points."""
        for name, outcome in self.outcomes.items():
            possible = PROPERTIES[name].points
            if possible:
                yield name, possible if outcome.status == RIGHT else 0, possible

    def show_examples_for(self, kind: str) -> None:
        """Let every finding show the example for a kind of layer."""
        self.findings = [
            replace(finding, code=example_for(finding.code, kind))
            for finding in self.findings
        ]

    def sort(self) -> None:
        """Bring outcomes and findings into the order of the properties."""
        order = list(PROPERTIES)
        self.outcomes = {
            name: self.outcomes[name] for name in order if name in self.outcomes
        }
        self.findings.sort(key=lambda finding: order.index(finding.property_name))


class Record:
    """Collects outcomes while a layer is examined.

    Args:
        examination: what is filled.
        source: of the class, for the likely lines.
    """

    def __init__(self, examination: Examination, source: Source) -> None:
        self.examination = examination
        self.source = source

    def right(self, name: str, note: str = "") -> None:
        """The layer has a property, unless a fault of it was found before."""
        self.examination.outcomes.setdefault(name, Outcome(RIGHT, note))

    def unknown(self, because: str, *names: str) -> None:
        """Properties could not be examined because of something else."""
        for name in names:
            self.examination.outcomes.setdefault(name, Outcome(UNKNOWN, because))

    def found(self, fault: str, line: int | None = None, **figures: Any) -> None:
        """The layer has a fault; the figures fill the sentence.

        An error that comes from a blank of a template is told as the blank.
        """
        error = str(figures.get("error", figures.get("message", "")))
        blanks = self.source.blanks() if is_of_blank(error) else []
        if blanks:
            self.found_blanks(blanks)
            return
        if self.has(fault):
            return
        known = FAULTS[fault]
        status = WRONG if PROPERTIES[known.property].points else REMARK
        self.examination.outcomes[known.property] = Outcome(status)
        finding = Finding(
            fault=fault,
            property_name=known.property,
            sentence=known.sentence.format(**figures),
            fix=known.fix.format(**figures),
            why=known.why,
            code=known.code,
            line=line,
            text=self.source.text(line),
            place=self.source.place(line) if line else "",
        )
        self.examination.findings.append(finding)

    def found_blanks(self, lines: Sequence[int]) -> None:
        """Lines of a template are still to be written."""
        blanks = "A blank is" if len(lines) == 1 else "Blanks are"
        place = self.source.place(*lines)
        self.found("blanks_left", lines[0], blanks=f"{blanks} left in {place}")

    def has(self, *faults: str) -> bool:
        """Whether one of these faults was found."""
        return any(one.fault in faults for one in self.examination.findings)

    def is_right(self, *names: str) -> bool:
        """Whether the layer is known to have all of these properties."""
        outcomes = self.examination.outcomes
        return all(
            name in outcomes and outcomes[name].status == RIGHT for name in names
        )
