"""From folders of runs to a report: a comparison, or the answer to a study."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.compare.comparison import Comparison, compare
from normlab.compare.curves import curve_warnings
from normlab.compare.runs import load_runs
from normlab.compare.selection import validation_metric
from normlab.compare.settings import check_keys, direction_warnings
from normlab.compare.targets import time_to_target
from normlab.metrics import parse_target
from normlab.report.additions import Addition
from normlab.report.figures import draw_figures
from normlab.report.page import Report, Section
from normlab.report.reading import (
    Reading,
    columns_table,
    in_table,
    is_other,
    read_runs,
    without_unknown_checks,
)
from normlab.report.several_tasks import about_several_tasks
from normlab.report.tables import (
    budget_table,
    contrast_table,
    summary_table,
    target_table,
)
from normlab.report.test_set import about_test_set
from normlab.study.definition import read_study
from normlab.study.deviations import planned_settings
from normlab.study.verdict import answer


@dataclass(frozen=True)
class Extras:
    """What a report shows besides arms and contrasts.

    Attributes:
        target: A metric and the value to reach, `METRIC=VALUE`; None for none.
        heatmap: The two settings of the heatmap; None for those that vary.
        figures: Whether figures are drawn.
        across: The settings that make tasks; None for data set and model.
        reading: How results of another program are read.
    """

    target: str | None = None
    heatmap: tuple[str, str] | None = None
    figures: bool = True
    across: list[str] | None = None
    reading: Reading = field(default_factory=Reading)


def comparison_report(
    folders: Sequence[Path], arguments: dict[str, Any], extras: Extras
) -> Report:
    """Compare the runs of some folders, or results of another program.

    Args:
        folders: Folders that contain runs, at any depth; or files and folders of
            another program.
        arguments: Arguments of `compare` by name, other than the runs.
        extras: What the report shows besides arms and contrasts.

    Raises:
        ValueError: There is no run, or the runs cannot be compared so.
    """
    runs, arguments = read_runs(folders, arguments, extras.reading)
    if is_other(runs):
        extras = _in_table(extras, runs)
    _check_heatmap(runs, extras.heatmap)
    comparison = compare(runs, **arguments)
    if is_other(runs):
        comparison = without_unknown_checks(comparison)
    report = report_of(comparison, extras)
    notes = runs.attrs.get("notes", [])
    warnings = [*notes, *report.warnings, *_unreadable_warnings(runs)]
    columns = columns_table(runs, folders)
    return replace(report, runs=runs, warnings=warnings, columns=columns)


def _in_table(extras: Extras, runs: pd.DataFrame) -> Extras:
    """The extras in the names of the table of another program's results."""
    if extras.target is not None:
        raise ValueError(
            "target must be left out for results of other programs: it needs learning "
            "curves, which only runs of normlab have"
        )
    names = runs.attrs["names"]
    if extras.across is not None:
        across = [in_table(key, names) for key in extras.across]
        extras = replace(extras, across=across)
    if extras.heatmap is None:
        return extras
    first, second = extras.heatmap
    return replace(extras, heatmap=(in_table(first, names), in_table(second, names)))


def report_of(comparison: Comparison, extras: Extras) -> Report:
    """The report of a comparison that was made.

    Args:
        comparison: The comparison.
        extras: What the report shows besides arms and contrasts.
    """
    by = ", ".join(comparison.by)
    section = make_section(f"{comparison.metric} by {by}", comparison, extras)
    return Report(
        question=f"How does {comparison.metric} depend on {by}?",
        verdict="",
        sections=[section],
        runs=comparison.runs,
        warnings=comparison.warnings,
    )


def study_report(
    name: str,
    folders: Sequence[Path],
    extras: Extras,
    config_dir: Path | None = None,
    trusted: Sequence[str] = (),
) -> Report:
    """Answer a study by its own rule.

    Args:
        name: The study, a file of conf/study without ending.
        folders: Folders that contain its runs.
        extras: What the report shows besides arms and contrasts.
        config_dir: A folder with the layout of conf/ that may have the study.
        trusted: Packages of the user's own that its runs may call when claims score
            them again.

    Raises:
        ValueError: There is no such study, or no run that answers it.
    """
    study = replace(read_study(name, config_dir), trusted=tuple(trusted))
    runs = load_runs(*folders)
    _check_heatmap(runs, extras.heatmap)
    settings = planned_settings(study.name, study.params, study.config_dir)
    verdict, claims, warnings = answer(study, runs, settings)

    sections = []
    for number, claim in enumerate(claims, 1):
        section = make_section(claim.says, claim.comparison, extras)
        section = _with_prefix(section, f"claim_{number}_")
        sections.append(
            replace(
                section,
                verdict=claim.verdict,
                reason=claim.reason,
                rule=claim.rule,
                rule_origin=claim.rule_origin,
                control=claim.control.text if claim.control else "",
            )
        )
    # Only now: `make_section` adds warnings about curves.
    for claim in claims:
        warnings = [*warnings, *claim.comparison.warnings]
    warnings = [*warnings, *_unreadable_warnings(runs)]
    return Report(
        question=study.plan["question"],
        verdict=verdict,
        sections=sections,
        runs=runs,
        warnings=list(dict.fromkeys(warnings)),
    )


def make_section(heading: str, comparison: Comparison, extras: Extras) -> Section:
    """Make tables and figures of a comparison.

    Warnings about curves that are missing are added to those of the comparison.
    """
    frames = {"arms": comparison.summaries, "contrasts": comparison.contrasts}
    tables = [summary_table(comparison)]
    if len(comparison.contrasts):
        tables.append(contrast_table(comparison))
    if comparison.choice:
        frames["budgets"] = comparison.budgets
        if len(comparison.budgets):
            key = comparison.choice.selection.key
            metric = comparison.choice.metric
            tables.append(budget_table(comparison.budgets, key, metric))

    curves = []
    if extras.figures:
        curves.append(validation_metric(comparison.runs, comparison.metric))
    if extras.target is not None:
        metric, value = parse_target(extras.target)
        times = time_to_target(comparison, metric, value)
        frames["time_to_target"] = times
        tables.append(target_table(times, metric, value))
        comparison.warnings.extend(direction_warnings(metric))
        curves.append(metric)
    comparison.warnings.extend(curve_warnings(comparison.runs, curves))

    drawings = draw_figures(comparison, extras.heatmap) if extras.figures else []
    section = Section(heading, comparison, tables, drawings, frames=frames)
    _add(section, about_test_set(comparison, with_samples=extras.figures))
    _add(section, about_several_tasks(comparison, extras.across, extras.figures))
    return section


def _add(section: Section, addition: Addition) -> None:
    """Show an addition in a section, whose comparison takes over the warnings."""
    section.tables.extend(addition.tables)
    section.frames.update(addition.frames)
    section.drawings.extend(addition.drawings)
    section.notes.extend(addition.notes)
    section.comparison.warnings.extend(addition.warnings)


def _with_prefix(section: Section, prefix: str) -> Section:
    """The section with other names of its files: all claims share a folder."""
    return replace(
        section,
        tables=[replace(table, name=prefix + table.name) for table in section.tables],
        drawings=[
            replace(drawing, name=prefix + drawing.name) for drawing in section.drawings
        ],
        frames={prefix + name: frame for name, frame in section.frames.items()},
    )


def _check_heatmap(runs: pd.DataFrame, keys: tuple[str, str] | None) -> None:
    if keys and len(set(check_keys(runs, keys))) < len(keys):
        raise ValueError(
            f"heatmap must name two different settings, got {' '.join(keys)}"
        )


def _unreadable_warnings(runs: pd.DataFrame) -> list[str]:
    """One line about folders, or rows of a table, that hold no readable run."""
    unreadable = runs.attrs["unreadable"]
    if not unreadable:
        return []
    path, reason = unreadable[0]
    what = "run" if is_other(runs) else "folder"
    if len(unreadable) == 1:
        return [f"1 {what} was left out: {path} ({reason})."]
    count = len(unreadable)
    return [f"{count} {what}s were left out, the first: {path} ({reason})."]
