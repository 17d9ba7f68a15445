"""The command line of comparisons; what is heavy is imported once the arguments are known to be right."""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from normlab.compare.comparison import Comparison
    from normlab.report.page import Report, Section

USER_MISTAKE = 2
OF_COMPARE = ("by", "metric", "baseline", "within", "arms", "margin", "level", "select")
EXAMPLES = """examples:
  {program} outputs/mlp_mnist --by norm --baseline none
  {program} outputs/lr --by norm --select optimizer.lr --margin 0.005 --out outputs/lr/report
  {program} --study custom_equals_torch
"""


def main(arguments: list[str] | None = None) -> None:
    """Compare runs; exit code 2 and one line for the user's mistakes."""
    options = parser().parse_args(arguments)
    try:
        report = study_report(options) if options.study else plain_report(options)
        show(report, options)
    except (ValueError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_MISTAKE)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog=program(),
        description="Compare runs: a table of every arm, its difference to the baseline with interval, test and effect "
        "size, one plain sentence for each, figures and a report.",
        epilog=EXAMPLES.format(program=program()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", nargs="*", type=Path, help="folders of runs, searched to any depth")
    add(
        "--by",
        metavar="KEY[,KEY]",
        help="settings whose values are the arms (default norm)",
    )
    add("--metric", help="what is compared (default test/accuracy)")
    add(
        "--baseline",
        metavar="ARM",
        help="the arm that the others are compared to (default: the first that begins with none, or else the first)",
    )
    add(
        "--within",
        nargs="+",
        metavar="KEY",
        help="compare within equal values of these (default: all else that varies)",
    )
    add(
        "--arms",
        nargs="+",
        metavar="ARM",
        help="planned contrasts with the baseline (default all)",
    )
    add(
        "--margin",
        help="differences below it do not matter: 0.005, or 5%% of the baseline; asks for equivalence",
    )
    add(
        "--level",
        type=float,
        help="probability of a false alarm over all contrasts (default 0.05)",
    )
    add(
        "--select",
        metavar="KEY",
        help="every arm at its best value of this setting, chosen on validation, or without such a metric on the "
        "compared one",
    )
    add(
        "--target",
        metavar="METRIC=VALUE",
        help="also time to a target, such as val/accuracy=0.97",
    )
    add(
        "--heatmap",
        nargs=2,
        metavar="KEY",
        help="two hyperparameters for the heatmap (default: those that vary)",
    )
    add(
        "--study",
        metavar="NAME",
        help="answer conf/study/NAME.yaml by its own rule; writes the report",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="write report.html, figures, CSV, Markdown and LaTeX there",
    )
    return parser


def program() -> str:
    """The command as it was called, for the help and for the line that makes a report again."""
    return (
        "normlab-compare"
        if Path(sys.argv[0]).stem == "normlab-compare"
        else "python scripts/compare.py"
    )


def plain_report(options: argparse.Namespace) -> "Report":
    """What the options ask for."""
    if not options.folders:
        raise ValueError(
            "name a folder of runs, such as outputs/digits-mlp, or a study with --study"
        )
    if options.heatmap and not options.out:
        raise ValueError("--heatmap draws a figure: name its folder with --out")
    _check_out(options.out)
    from normlab.compare.comparison import compare
    from normlab.compare.runs import load_runs
    from normlab.report.page import Report

    runs = load_runs(*options.folders)
    _check_heatmap(runs, options.heatmap)
    given = _given(options)
    if options.by is not None:
        given["by"] = [key.strip() for key in options.by.split(",") if key.strip()]
    comparison = compare(runs, **given)
    heading = f"{comparison.metric} by {', '.join(comparison.by)}"
    section = make_section(heading, comparison, options)
    question = f"How does {comparison.metric} depend on {', '.join(comparison.by)}?"
    return Report(
        question,
        "",
        [section],
        runs,
        [*comparison.warnings, *_left_out(runs)],
        _command(options),
    )


def _check_out(folder: Path | None) -> None:
    """Refuse a folder that cannot be written before any work is done for it; nothing stays behind."""
    if folder is None:
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        why = (
            "is a file"
            if there.is_file()
            else f"cannot be written to ({error.strerror})"
        )
        raise ValueError(
            f"--out must be a folder that can be written, got {folder}: {there} {why}"
        ) from error


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What was said about the comparison itself; `compare` has the defaults."""
    return {
        name: value
        for name in OF_COMPARE
        if (value := getattr(options, name)) is not None
    }


def study_report(options: argparse.Namespace) -> "Report":
    """A study's answer."""
    from normlab.compare.runs import load_runs
    from normlab.report.page import Report
    from normlab.study.plans import planned_settings, study_command
    from normlab.study.verdict import answer, read_study

    study = read_study(options.study)
    if given := _given(options):
        words = " ".join(f"--{name}" for name in given)
        raise ValueError(
            f"--study answers by the rule of conf/study/{study.name}.yaml: leave out {words}, or --study"
        )
    folders = options.folders or [study.outputs]
    if lacking := [folder for folder in folders if not folder.exists()]:
        raise ValueError(
            f"{lacking[0]} does not exist: run the study first, {study_command(study.name)}"
        )
    options.out = options.out or folders[0] / "report"
    _check_out(options.out)
    options.target = options.target or study.plan.get("target")
    runs = load_runs(*folders)
    _check_heatmap(runs, options.heatmap)
    verdict, claims, warnings = answer(
        study, runs, planned_settings(study.name, study.params)
    )
    sections = [
        make_section(
            claim.says,
            claim.comparison,
            options,
            str(place + 1),
            claim.verdict,
            claim.reason,
            claim.rule,
        )
        for place, claim in enumerate(claims)
    ]
    warnings += [text for claim in claims for text in claim.comparison.warnings]
    warnings = list(dict.fromkeys([*warnings, *_left_out(runs)]))
    return Report(
        study.plan["question"], verdict, sections, runs, warnings, _command(options)
    )


def _check_heatmap(runs: "pd.DataFrame", keys: list[str] | None) -> None:
    from normlab.compare.settings import check_keys

    if keys and len(set(check_keys(runs, keys))) < len(keys):
        raise ValueError(
            f"--heatmap needs two different settings, got {' '.join(keys)}"
        )


def make_section(
    heading: str,
    comparison: "Comparison",
    options: argparse.Namespace,
    name: str = "",
    verdict: str = "",
    reason: str = "",
    rule: str = "",
) -> "Section":
    """Tables, and figures if files are asked for."""
    from dataclasses import replace

    from normlab.compare.runs import curve_warnings
    from normlab.compare.selection import validation_metric
    from normlab.report.page import Section
    from normlab.report.tables import contrast_table, summary_table, target_table

    tables = [summary_table(comparison)]
    tables += [contrast_table(comparison)] if len(comparison.contrasts) else []
    frames = {"arms": comparison.summaries, "contrasts": comparison.contrasts}
    curves = (
        [validation_metric(comparison.runs, comparison.metric)] if options.out else []
    )
    if options.target:
        from normlab.compare.settings import direction_warnings
        from normlab.compare.targets import parse_target, time_to_target

        metric, value = parse_target(options.target)
        frames["time_to_target"] = time_to_target(comparison, metric, value)
        tables.append(target_table(frames["time_to_target"], metric, value))
        comparison.warnings.extend(direction_warnings(metric))
        curves.append(metric)
    comparison.warnings.extend(curve_warnings(comparison.runs, curves))
    drawings = _draw(comparison, options) if options.out else []
    if name:
        tables = [replace(table, name=f"claim_{name}_{table.name}") for table in tables]
        frames = {f"claim_{name}_{key}": frame for key, frame in frames.items()}
        drawings = [
            replace(drawing, name=f"claim_{name}_{drawing.name}")
            for drawing in drawings
        ]
    return Section(heading, comparison, tables, drawings, verdict, reason, rule, frames)


def _draw(comparison: "Comparison", options: argparse.Namespace) -> list[Any]:
    from normlab.report.figures import style
    from normlab.report.layer_figures import layer_figures
    from normlab.report.run_figures import FIGURES, heatmap

    keys = tuple(options.heatmap) if options.heatmap else None
    with style():
        drawn = [
            heatmap(comparison, keys) if draw is heatmap else draw(comparison)
            for draw in FIGURES
        ]
        return [drawing for drawing in drawn if drawing] + layer_figures(comparison)


def _left_out(runs: "pd.DataFrame") -> list[str]:
    found = runs.attrs["unreadable"]
    if not found:
        return []
    path, reason = found[0]
    folders = "folder was" if len(found) == 1 else "folders were"
    return [
        f"{len(found)} {folders} left out{', the first' if len(found) > 1 else ''}: {path} ({reason})."
    ]


def _command(options: argparse.Namespace) -> str:
    words = [*program().split(), *map(str, options.folders)]
    defaults = parser().parse_args([])
    for name, value in vars(options).items():
        if name != "folders" and value != getattr(defaults, name):
            words += [
                f"--{name}",
                *(map(str, value) if isinstance(value, list) else [str(value)]),
            ]
    return shlex.join(words)


def show(report: "Report", options: argparse.Namespace) -> None:
    """Tables and sentences in the terminal, files where asked for."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    _print(report, console)
    if options.out is None:
        console.print(
            "[dim]--out DIR writes the report, figures, CSV, Markdown and LaTeX[/dim]"
        )
        return
    _write(report, options.out)
    console.print(f"[dim]report[/dim]  {options.out / 'report.html'}", soft_wrap=True)


def _print(report: "Report", console: "Console") -> None:
    from rich.markup import escape

    from normlab.report.tables import print_table

    colours = {"supported": "bold green", "contradicted": "bold red"}
    if report.verdict:
        console.print(f"\n[bold]{escape(report.question)}[/bold]", soft_wrap=True)
        console.print(
            f"[{colours.get(report.verdict, 'bold yellow')}]{report.verdict}[/]\n"
        )
    for section in report.sections:
        if section.verdict:
            style = colours.get(section.verdict, "bold yellow")
            text = f"{escape(section.heading)}\n[{style}]{section.verdict}[/]: {escape(section.reason)}"
            console.print(
                f"{text}\n[dim]Rule: {escape(section.rule)}.[/dim]\n", soft_wrap=True
            )
        for table in section.tables:
            print_table(console, table)
        for sentence in section.comparison.contrasts.get("sentence", []):
            console.print(f"• {escape(sentence)}", soft_wrap=True)
        console.print()
    for warning in report.warnings:
        console.print(f"[yellow]![/yellow] {escape(warning)}", soft_wrap=True)


def _write(report: "Report", folder: Path) -> None:
    from normlab.report.figures import save
    from normlab.report.page import write_report
    from normlab.report.tables import write_tables

    for section in report.sections:
        write_tables(folder, section.tables, section.frames)
        for drawing in section.drawings:
            save(drawing, folder / "figures")
    write_tables(folder, [], {"runs": report.runs})
    write_report(report, folder / "report.html")
