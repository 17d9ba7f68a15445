"""Show an examination in a terminal, as sentences."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from normlab.check.cost import Cost
from normlab.check.findings import RIGHT, UNKNOWN, Examination, Finding
from normlab.check.properties import PROPERTIES
from normlab.check.submissions import Grade, reason_for_nothing
from normlab.terminal import without_control

STYLES = {"wrong": "bold red", "remark": "bold yellow", "right": "green"}
LABEL_WIDTH = 6


def print_examination(
    console: Console, examination: Examination, explain: bool = False
) -> None:
    """Print what is right, what is wrong, and how it is fixed.

    Args:
        console: where it is printed.
        examination: of a layer.
        explain: show why each fault matters, and an example of the fix in code.
    """
    console.print(_heading(examination))
    console.print()
    for finding in examination.findings:
        console.print(_finding_rows(finding, explain))
        console.print()
    rows = _grid()
    for label, text in _other_rows(examination):
        rows.add_row(Text(label, STYLES.get(label, "dim")), Text(text))
    console.print(rows)
    console.print()
    console.print(_verdict(examination, explain))


def _heading(examination: Examination) -> Text:
    heading = Text(without_control(examination.name), "bold")
    if examination.kind:
        heading.append(f", compared with {examination.kind}", "not bold")
    if examination.inputs:
        heading.append(f"; it takes {', '.join(examination.inputs)}", "not bold")
    return heading


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _finding_rows(finding: Finding, explain: bool) -> Table:
    rows = _grid()
    label = "remark" if finding.is_remark else "wrong"
    rows.add_row(Text(label, STYLES[label]), Text(without_control(finding.sentence)))
    if finding.line is not None:
        text = Text(f"{finding.place.removeprefix('line ')}: ", "cyan")
        text.append(without_control(finding.text))
        rows.add_row(Text("line", "dim"), text)
    rows.add_row(Text("fix", "dim"), Text(without_control(finding.fix)))
    if explain:
        rows.add_row(Text("why", "dim"), Text(finding.why))
        if finding.code:
            code = Syntax(finding.code, "python", background_color="default")
            rows.add_row(Text("code", "dim"), code)
    return rows


def _other_rows(examination: Examination) -> Iterator[tuple[str, str]]:
    for name, outcome in examination.outcomes.items():
        title = PROPERTIES[name].title
        if outcome.status == RIGHT:
            yield "right", f"{title} ({outcome.note})" if outcome.note else title
    reasons: dict[str, list[str]] = {}
    for name, outcome in examination.outcomes.items():
        if outcome.status == UNKNOWN and PROPERTIES[name].points:
            reasons.setdefault(outcome.note, []).append(name.replace("_", " "))
    for reason, names in reasons.items():
        because = f", because {reason}" if reason else ""
        yield "open", f"not examined{because}: {', '.join(names)}"


def _verdict(examination: Examination, explain: bool) -> Text:
    points = f"{examination.points} of {examination.possible} points"
    faults = len(examination.faults)
    if faults == 0:
        verdict = Text(f"Nothing is wrong: {points}.", "bold green")
    else:
        number = "1 fault" if faults == 1 else f"{faults} faults"
        verdict = Text(f"{number}: {points}.", "bold red")
    has_code = any(finding.code for finding in examination.findings)
    if has_code and not explain:
        verdict.append(" --explain shows reasons and code.", "not bold default")
    return verdict


def grades_table(grades: Sequence[Grade]) -> Table:
    """A table with one row per submission."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("submission", overflow="fold", max_width=24)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("findings", overflow="fold")
    for grade in grades:
        found = grade.examination
        faults = ", ".join(one.fault.replace("_", " ") for one in found.faults)
        text = Text(without_control(faults or "nothing is wrong"))
        if not faults:
            text.stylize("green")
        reason = reason_for_nothing(grade)
        if reason:
            text = Text(without_control(reason), "yellow")
        name = Text(without_control(grade.submission))
        table.add_row(name, f"{found.points} of {found.possible}", text)
    return table


def _size(count: int) -> str:
    return f"{count / 2**10:.1f} KiB" if count < 2**20 else f"{count / 2**20:.1f} MiB"


def print_cost(console: Console, cost: Cost) -> None:
    """Print the time and memory of a layer beside those of PyTorch's."""
    rows = _grid()
    milliseconds = 1000 * cost.seconds
    theirs = 1000 * cost.reference_seconds
    rows.add_row(
        Text("time", "dim"),
        f"{milliseconds:.2f} ms forward and backward for input {cost.shape}, "
        f"{cost.reference} {theirs:.2f} ms: {milliseconds / theirs:.1f} times as long",
    )
    rows.add_row(
        Text("memory", "dim"),
        f"{_size(cost.bytes)} kept for the backward pass beside the input, "
        f"{cost.reference} {_size(cost.reference_bytes)}",
    )
    console.print(rows)
    console.print()
