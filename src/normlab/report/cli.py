"""The command line of comparisons: `normlab compare`, or `python scripts/compare.py`.

Pandas, matplotlib and rich are imported once the options are read, so that `--help`
answers at once.
"""

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from normlab.command_lines import add_trusted_code, load_trusted_code
from normlab.files import refuse_link
from normlab.option_names import with_option_names
from normlab.programs import program
from normlab.report.comparison_options import (
    OF_RUNS,
    add_level,
    add_run_options,
    compare_arguments,
    named_keys,
)
from normlab.report.reading_options import OF_READING, add_reading_options

if TYPE_CHECKING:
    from normlab.report.page import Report
    from normlab.report.reading import Reading

USER_MISTAKE = 2
# Options that are arguments of `compare`, which has their defaults.
OF_COMPARE = (*OF_RUNS, "margin", "level", "select", "confirm", "incomplete")
OF_REPORT = ("target", "across", "heatmap", "study", "out", "paper", "leaderboard")
# The options for arguments of functions, which messages name.
OPTIONS = {name: f"--{name}" for name in (*OF_COMPARE, *OF_READING, *OF_REPORT)}
DESCRIPTION = """Compare runs, or results of another program. For every arm the command
prints its results and their difference to the baseline, with interval, test, effect
size and a plain sentence; with --out it also writes figures and a report."""
EXAMPLES = """examples:
  {program} outputs/mlp_mnist --by norm --baseline none
  {program} outputs/lr --by norm --select optimizer.lr --margin 0.005 --out report
  {program} --study custom_equals_torch
  {program} results.csv --by optimizer --seed seed --metric acc
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare runs as the arguments say.

    A mistake of the user ends with a message of one or two lines and exit code 2; with
    HYDRA_FULL_ERROR=1 it is raised.

    Args:
        arguments: The words of the command line; by default those of the process.
    """
    options = parser().parse_args(arguments)
    from normlab.terminal import output_may_end, print_line

    with output_may_end():
        try:
            report = _make_report(options)
            _show(report, options.out, options.methods)
            _write_paper(report, options.paper or [])
            _write_leaderboard(report, options)
        except (ValueError, OSError) as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            message = with_option_names(str(error), OPTIONS)
            print_line(f"error: {message}")
            sys.exit(USER_MISTAKE)


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    name = program("compare")
    parser = argparse.ArgumentParser(
        prog=name,
        description=DESCRIPTION,
        epilog=EXAMPLES.format(program=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        help="folders that contain runs, at any depth; or results of other programs: "
        "CSV and parquet files, exports of W&B and MLflow, folders of TensorBoard's "
        "event files or MLflow's runs",
    )
    _add_comparison_options(parser)
    add_reading_options(parser)
    _add_report_options(parser)
    return parser


def _add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that are arguments of `compare`."""
    add_run_options(parser)
    add = parser.add_argument
    add(
        "--margin",
        help="test for equivalence: differences below this margin do not matter; a "
        "number such as 0.005, or a share of the baseline's mean such as 5%%",
    )
    add_level(parser)
    add(
        "--select",
        metavar="KEY",
        help="compare every arm at its best value of this setting, chosen by the "
        "validation metric, or by the compared metric if there is none",
    )
    add(
        "--confirm",
        metavar="SEEDS",
        help="seeds that only test the values that --select chose on the others, such "
        "as 10,11,12 or 'range(10,20)' (default: the seeds of the choice test them)",
    )
    add(
        "--incomplete",
        action="store_true",
        default=None,
        help="let --select choose from a grid with missing runs, and say so (default: "
        "refuse it)",
    )


def _add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about what the report shows and where it goes."""
    add = parser.add_argument
    add(
        "--target",
        metavar="METRIC=VALUE",
        help="also compare the time to a target, such as val/accuracy=0.97",
    )
    add(
        "--across",
        metavar="KEY[,KEY]",
        help="settings whose combinations are the tasks over which arms are ranked "
        "(default: dataset and model, if they vary)",
    )
    add(
        "--heatmap",
        nargs=2,
        metavar="KEY",
        help="the two hyperparameters of the heatmap (default: the first that vary)",
    )
    add(
        "--study",
        metavar="NAME",
        help="answer the study conf/study/NAME.yaml by its own rule and write a report",
    )
    add(
        "--try",
        action="store_true",
        help="show the runs of the study that study.try=true made; no verdict",
    )
    add(
        "--config-dir",
        type=Path,
        metavar="FOLDER",
        help="look for the study in this folder too, which has the layout of conf/",
    )
    add_trusted_code(parser, "runs of the study that it scores again")
    add(
        "--methods",
        action="store_true",
        help="also print a methods paragraph for a paper, and a checklist for its "
        "reviewer, from what the runs recorded; the report has them too",
    )
    add(
        "--paper",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="also write the table for a paper, with one row per arm and one column "
        "per group, to files that end in .tex, .md or .html",
    )
    add(
        "--leaderboard",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="also order the arms by their time to --target, with the arm of "
        "--baseline as holder of the record, in files that end in .md (the table) or "
        ".csv (all runs)",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder to write report.html, figures, CSV, Markdown and LaTeX to",
    )


def _make_report(options: argparse.Namespace) -> "Report":
    """Answer what the options ask; a study completes them."""
    folders = options.folders
    if options.study is None:
        _check_options(options)
    else:
        folders = _complete_from_study(options)
    _check_out(options.out)
    if options.paper:
        from normlab.report.paper_formats import check_paper_paths

        check_paper_paths(options.paper)
    if options.leaderboard:
        from normlab.report.leaderboard import check_leaderboard

        check_leaderboard(options.leaderboard, options.target, options.baseline)

    from normlab.report.assembly import Extras, comparison_report, study_report

    heatmap = tuple(options.heatmap) if options.heatmap else None
    extras = Extras(
        options.target,
        heatmap,
        figures=options.out is not None,
        reading=_reading(options),
        across=named_keys(options.across),
    )
    if options.study is None:
        arguments = compare_arguments(options, OF_COMPARE)
        report = comparison_report(folders, arguments, extras)
    else:
        # Only with the option, since what loads such code is slow to import.
        trusted = load_trusted_code(options) if options.trust else []
        report = study_report(
            options.study, folders, extras, options.config_dir, trusted
        )
    return replace(report, command=_command_line(options))


def _reading(options: argparse.Namespace) -> "Reading":
    """How results of other programs are read."""
    from normlab.report.reading import Reading

    given = {name: getattr(options, name) for name in OF_READING}
    return Reading(**given, heatmap=options.heatmap or ())


def _check_options(options: argparse.Namespace) -> None:
    if not options.folders:
        raise ValueError(
            "name a folder of runs, such as outputs/digits-mlp, or a study with --study"
        )
    for name in ("try", "config_dir", "trust"):
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is for --study NAME")
    if options.heatmap and not options.out:
        raise ValueError("--heatmap draws a figure: name its folder with --out")


def _complete_from_study(options: argparse.Namespace) -> list[Path]:
    """Take from a study what the options do not say: target and folder of the report.

    Returns:
        The folders of its runs.

    Raises:
        ValueError: There is no such study, it has no runs, options are given that its
            rule decides, or the folder of the report is not named and is a link.
    """
    from normlab.study.definition import read_study

    study = read_study(options.study, options.config_dir)
    names = (*OF_COMPARE, *OF_READING, "leaderboard")
    given = [f"--{name}" for name in names if getattr(options, name) is not None]
    if given:
        raise ValueError(
            f"--study answers by the rule of conf/study/{study.name}.yaml: leave out "
            f"{' '.join(given)}, or --study"
        )
    tries = getattr(options, "try")
    default = study.trial_outputs if tries else study.outputs
    command = f"{study.command} study.try=true" if tries else study.command
    folders: list[Path] = options.folders or [default]
    for folder in folders:
        if not folder.exists():
            raise ValueError(f"{folder} does not exist: run the study first, {command}")
    if options.out is None:
        options.out = folders[0] / "report"
        refuse_link(options.out)
    options.target = options.target or study.plan.get("target")
    return folders


def _check_out(folder: Path | None) -> None:
    """Refuse a folder that cannot be written, before any work; leave nothing behind."""
    if folder is None:
        return
    refuse_link(folder / "figures")
    ancestors = (folder, *folder.absolute().parents)
    existing = next(path for path in ancestors if path.exists())
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        problem = f"cannot be written to ({error.strerror})"
        if existing.is_file():
            problem = "is a file"
        raise ValueError(
            f"--out must be a folder that can be written, got {folder}: {existing} "
            f"{problem}"
        ) from error


def _command_line(options: argparse.Namespace) -> str:
    """The command that makes this report again."""
    words = [*program("compare").split(), *map(str, options.folders)]
    defaults = parser().parse_args([])
    for name, value in vars(options).items():
        if name == "folders" or value == getattr(defaults, name):
            continue
        values = value if isinstance(value, list) else [value]
        if value is True:
            values = []
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


def _show(report: "Report", folder: Path | None, methods: bool) -> None:
    """Print the report; write its files if a folder is named."""
    from normlab.report.output import (
        make_console,
        print_methods,
        print_report,
        write_files,
    )
    from normlab.terminal import escaped, print_line

    console = make_console()
    print_report(report, console)
    if methods:
        print_methods(report, console)
    if folder is None:
        console.print(
            "[dim]--out DIR writes the report, figures, CSV, Markdown and LaTeX[/dim]"
        )
    else:
        path = write_files(report, folder, print_line)
        name = escaped(path)
        console.print(f"[dim]report[/dim]  {name}", soft_wrap=True)


def _write_paper(report: "Report", paths: Sequence[Path]) -> None:
    """Write the table for a paper to every file that is named."""
    if not paths:
        return
    from normlab.report.paper_formats import write_paper_tables
    from normlab.report.paper_table import make_paper_table
    from normlab.terminal import print_line

    tables = [make_paper_table(section.comparison) for section in report.sections]
    for path in paths:
        write_paper_tables(tables, path)
        print_line(f"paper   {path}")


def _write_leaderboard(report: "Report", options: argparse.Namespace) -> None:
    """Say who holds the record, and write the leaderboard to every file named."""
    if not options.leaderboard:
        return
    from normlab.report.leaderboard import make_leaderboard, write_leaderboard
    from normlab.terminal import print_line

    board = make_leaderboard(report.sections[0].comparison, options.target)
    for note in board.notes:
        print_line(note)
    for path in options.leaderboard:
        write_leaderboard(board, path)
        print_line(f"leaderboard   {path}")
