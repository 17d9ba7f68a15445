"""A report in the terminal, and its files."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from normlab.report.checklist import NO, OPEN, YES
from normlab.report.drawing import save_drawing
from normlab.report.file_list import FIGURE_FOLDER, replaced_files, silent
from normlab.report.methods import methods_of
from normlab.report.page import Report, Section, write_report
from normlab.report.scope import scope_note
from normlab.report.table_formats import print_table, write_tables
from normlab.report.verdict_groups import merge_alike
from normlab.terminal import escaped

VERDICT_STYLES = {"supported": "bold green", "contradicted": "bold red"}
OPEN_VERDICT_STYLE = "bold yellow"
ANSWER_STYLES = {YES: "green", NO: "red", OPEN: "yellow"}
WIDTH_OF_FILES = 200  # of the output if it goes to a file or a pipe


def make_console() -> Console:
    """A console as wide as the terminal; in a file or a pipe nothing is cut."""
    console = Console(highlight=False, emoji=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, emoji=False, width=WIDTH_OF_FILES)


def print_report(report: Report, console: Console) -> None:
    """Print the verdict, then tables and sentences, then what to know about them."""
    if report.columns:
        print_table(console, report.columns)
    if report.verdict:
        question = escaped(report.question)
        verdict = _coloured(report.verdict)
        console.print(f"\n[bold]{question}[/bold]", soft_wrap=True)
        console.print(f"{verdict}\n")
    for section in report.sections:
        _print_section(section, console)
    comparisons = [section.comparison for section in report.sections]
    scope = scope_note(comparisons)
    for note in map(escaped, [scope, *report.notes]):
        console.print(f"[dim]{note}[/dim]", soft_wrap=True)
    for warning in merge_alike(report.warnings, report.arms):
        console.print(f"[yellow]![/yellow] {escaped(warning)}", soft_wrap=True)


def print_methods(report: Report, console: Console) -> None:
    """Print the methods paragraph and the reviewer's checklist of every comparison."""
    for methods in methods_of(report.sections):
        console.print(f"\n[bold]Methods: {escaped(methods.heading)}[/bold]\n")
        console.print(escaped(methods.paragraph), soft_wrap=True)
        console.print("\n[bold]Checklist for a reviewer[/bold]\n")
        for item in methods.items:
            style = ANSWER_STYLES[item.answer]
            answer = f"[{style}]{item.answer}[/]"
            line = f"{escaped(item.question)}: {answer}, {escaped(item.detail)}"
            console.print(f"• {line}", soft_wrap=True)


def _print_section(section: Section, console: Console) -> None:
    if section.verdict:
        console.print(escaped(section.heading), soft_wrap=True)
        verdict = _coloured(section.verdict)
        reason = escaped(section.reason)
        console.print(f"{verdict}: {reason}", soft_wrap=True)
        notes = [f"{section.rule_origin}: {section.rule}."]
        if section.control:
            notes.append(section.control)
        for note in map(escaped, notes):
            console.print(f"[dim]{note}[/dim]", soft_wrap=True)
        console.print()
    for table in section.tables:
        print_table(console, table)
    contrasts = section.comparison.contrasts
    for sentence in contrasts.get("sentence", []):
        text = escaped(sentence)
        console.print(f"• {text}", soft_wrap=True)
    console.print()


def _coloured(verdict: str) -> str:
    style = VERDICT_STYLES.get(
        verdict,
        OPEN_VERDICT_STYLE,
    )
    return f"[{style}]{verdict}[/]"


def write_files(
    report: Report, folder: Path, tell: Callable[[str], None] = silent
) -> Path:
    """Write tables, figures and the page into a folder; return the path of the page.

    Files of an earlier report that this one lacks are removed.

    Args:
        report: what is written.
        folder: it is made if it does not exist.
        tell: called with a sentence on files that were removed.
    """
    page = folder / "report.html"
    with replaced_files(page, tell) as staged:
        for section in report.sections:
            write_tables(staged, section.tables, section.frames)
            for drawing in section.drawings:
                save_drawing(drawing, staged / FIGURE_FOLDER)
        write_tables(staged, [], {"runs": report.runs})
        write_report(report, staged / page.name, folder)
    return page
