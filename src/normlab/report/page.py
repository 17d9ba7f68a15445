"""The report as one self-contained page, rendered from the template `report.html`."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from normlab.compare.arm_checks import DIFFERENT, SAME, UNKNOWN, Check
from normlab.compare.comparison import shared_settings
from normlab.programs import typed_command
from normlab.report.checklist import NO, OPEN, YES
from normlab.report.drawing import FILE_KINDS, REM_PER_INCH, Drawing, inline_svg
from normlab.report.methods import methods_of
from normlab.report.recorded import COMMIT
from normlab.report.run_table import RunTable, make_run_table
from normlab.report.scope import scope_note
from normlab.report.sections import Section
from normlab.report.tables import Table
from normlab.report.verdict_groups import merge_alike, verdict_groups
from normlab.results import written_whole
from normlab.terminal import without_control

# The tone of a verdict chooses its colour and its symbol; all others are "open".
TONES = {
    "supported": "good",
    "better": "good",
    "contradicted": "bad",
    "worse": "bad",
    "equivalent": "same",
}
CHECK_TONES = {SAME: "good", DIFFERENT: "bad", UNKNOWN: "open"}
ANSWER_TONES = {YES: "good", NO: "bad", OPEN: "open"}
SYMBOLS = {"good": "✓", "bad": "✗", "open": "?", "same": "≈"}
MOST_NAMES = 3  # of models or data sets, in the title
MOST_COMMITS = 3
MOST_COMMANDS = 10
WIDE = 5.2  # inches; narrower figures stand beside each other
METHOD = """Every arm is summarized over the runs that finished. Intervals of means are
t intervals; from twenty runs on, a bias-corrected bootstrap interval stands beside
them. Arms that share seeds are compared in pairs with the sign-flip permutation test,
which is exact for an arm that changes nothing in any run; other arms with Welch's t
test and a permutation test, and folds with the correction of Nadeau and Bengio. If runs
diverged or failed, ranks decide, in which they are the worst (Wilcoxon's tests, exact).
If one arm spreads more than three times as much as the other, a test of the wins must
agree (the sign test, or Brunner and Munzel's). Holm's correction covers all contrasts
of a table; the interval of a sentence has the confidence of its step and agrees with
the corrected p-value. No p-value is given below six runs. P(better) is the share of
pairs that the arm wins, or Mann and Whitney's U / (n m) of independent runs, with
Clopper and Pearson's interval; a difference is called meaningful if P(better) is at
least 0.75 and its interval lies above 0.5. Equivalence means that two one-sided t tests
reject differences beyond the stated margin, with at least ten runs per arm of like
shape. r is the correlation between arms over seeds: pairing helps only if it is
positive."""


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        question: The title.
        verdict: The verdict of a study as a whole; empty outside of studies.
        sections: One section per comparison.
        runs: Every run that was read, one row per run.
        warnings: What a reader must know before believing the verdict.
        command: The command line that makes this page.
        columns: What the columns of another program's results were taken for; None for
            runs of ours.
    """

    question: str
    verdict: str
    sections: list[Section]
    runs: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    command: str = ""
    columns: Table | None = None

    @property
    def arms(self) -> list[str]:
        """The names of the arms of all sections, each once."""
        names: dict[str, None] = {}
        for section in self.sections:
            names.update(dict.fromkeys(section.comparison.arms))
        return list(names)

    @property
    def notes(self) -> list[str]:
        """The notes of all sections, each once."""
        notes: dict[str, None] = {}
        for section in self.sections:
            notes.update(dict.fromkeys(section.notes))
        return list(notes)


@dataclass(frozen=True)
class PageFigure:
    """A figure as the template shows it.

    Attributes:
        identity: Its id on the page.
        drawing: The words of the figure.
        svg: Its SVG element.
        wide: Whether it takes the whole width of the page.
        rem: Its greatest width, in the size of the page's text.
    """

    identity: str
    drawing: Drawing
    svg: Markup
    wide: bool
    rem: float


def write_report(report: Report, path: Path, folder: Path | None = None) -> Path:
    """Write the page; it needs no server, no network and no other file.

    Args:
        report: what is written.
        path: of the file.
        folder: in which the page will lie, with links from there to the runs; None for
            that of `path`.

    Returns:
        `path`.
    """
    html = _template().render(_context(report, folder or path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(html + "\n", encoding="utf-8")
    return path


def page_environment() -> Environment:
    """How templates of pages are read: all values are escaped, `Markup` excepted.

    Control characters are left out of texts. A name that a template uses and its
    context lacks is an error.
    """
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template() -> Template:
    environment = page_environment()
    environment.filters["sort_key"] = _sort_key
    source = resources.files("normlab.report").joinpath("report.html")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _finalized(value: Any) -> Any:
    """A value as the template shows it: a text without control characters."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return without_control(value)
    return value


def _context(report: Report, folder: Path) -> dict[str, Any]:
    """The values that the template shows, by name."""
    counts = report.runs["status"].value_counts()
    run_table: RunTable = make_run_table(
        report.runs, report.sections[0].comparison, folder
    )
    return {
        "report": report,
        "subject": _subject(report.runs),
        "verdict_groups": verdict_groups,
        "warnings": merge_alike(report.warnings, report.arms),
        "status_counts": ", ".join(f"{count} {name}" for name, count in counts.items()),
        "checks": _checks(report.sections),
        "figures": _figures(report.sections),
        "run_table": run_table,
        "unreadable": report.runs.attrs.get("unreadable", []),
        "shared": shared_settings(report.runs),
        "commands": _commands(report),
        "method": METHOD,
        "methods": methods_of(report.sections),
        "answer_tones": ANSWER_TONES,
        "scope": scope_note([section.comparison for section in report.sections]),
        "file_kinds": FILE_KINDS,
        "tones": TONES,
        "symbols": SYMBOLS,
    }


def _subject(runs: pd.DataFrame) -> str:
    """`mlp on digits`: what the runs trained, and on which data; empty if unknown."""
    parts = []
    for key in ("model", "dataset"):
        names = sorted(runs[key].dropna().unique()) if key in runs else []
        if 0 < len(names) <= MOST_NAMES:
            parts.append(", ".join(map(str, names)))
    return " on ".join(parts)


def _sort_key(value: float | str) -> str:
    """What the page sorts a cell by; empty for NaN, which stays last."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return ""
    return f"{value:.10g}"


def _checks(sections: Sequence[Section]) -> list[tuple[Check, str]]:
    """Every check of fairness once, with its tone."""
    checks: dict[Check, str] = {}
    for section in sections:
        for check in section.comparison.checks:
            checks[check] = _check_tone(check)
    return list(checks.items())


def _check_tone(check: Check) -> str:
    if check.result == DIFFERENT and not check.warns:
        return "same"
    return CHECK_TONES[check.result]


def _figures(sections: Sequence[Section]) -> list[PageFigure]:
    """The figures of all sections; those that look alike are shown once."""
    figures = []
    seen = set()
    for place, section in enumerate(sections):
        for drawing in section.drawings:
            identity = f"figure-{place}-{drawing.name}"
            svg = inline_svg(drawing, identity)

            # Several claims about the same runs draw the same figure; only ids differ.
            anonymous = svg.replace(identity, "")
            if anonymous in seen:
                continue
            seen.add(anonymous)

            inches = drawing.figure.get_figwidth()
            # The only markup from outside the template: matplotlib escapes its texts.
            figure = PageFigure(
                identity, drawing, Markup(svg), inches > WIDE, inches * REM_PER_INCH
            )
            figures.append(figure)
    return figures


def _commands(report: Report) -> str:
    """The commands that make the runs and the page again, one per line."""
    lines: list[str] = []
    runs = report.runs
    if COMMIT in runs:
        commits = runs[COMMIT].dropna().unique()
        for commit in commits[:MOST_COMMITS]:
            lines.append(f"git checkout {shlex.quote(str(commit))}")
    if "environment.command" in runs:
        stored = runs["environment.command"].dropna().unique()
        typed = [typed_command(shlex.split(command)) for command in stored]
        shown = list(filter(None, typed))[:MOST_COMMANDS]
        lines += shown
        more = len(stored) - len(shown)
        if more > 0:
            lines.append(f"# and {more} more, see environment.json of each run")
    lines.append(report.command)
    return "\n".join(filter(None, lines))
