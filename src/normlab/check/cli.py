"""The command line that examines a norm, or grades a folder of them: `check`."""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from normlab.check.submissions import Task

USER_MISTAKE = 2  # exit codes
FAULTY = 1
INTERRUPTED = 130
OPTIONS = {"like": "--like"}  # arguments of functions, which messages name


def main(arguments: Sequence[str] | None = None) -> None:
    """Examine a norm and say what is right and what is wrong.

    Exits with code 0 if nothing is wrong, with 1 if something is, and with 2 and one
    line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = parser().parse_intermixed_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        try:
            code = _grade_folder(options) if options.folder else _check(options)
        except (ValueError, OSError) as error:
            _exit_with(error)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
    sys.exit(code)


def parser() -> argparse.ArgumentParser:
    """The options of `check`."""
    options = argparse.ArgumentParser(
        description="Examine a normalization layer and say in sentences what is right "
        "and what is wrong: formula, gradients, running averages, state. Exit code 0: "
        "nothing is wrong, 1: something is, 2: the command is mistaken.",
        epilog="example: %(prog)s my_norms.py:MyBatchNorm1d --explain",
    )
    options.add_argument(
        "norm",
        nargs="?",
        metavar="FILE.py:CLASS",
        help="the layer; FILE.py is enough if it defines only one, and FILE.ipynb is a "
        "notebook; with --folder, the file and the class that every submission has "
        "(default: its only one)",
    )
    options.add_argument(
        "options",
        nargs="*",
        metavar="NAME=VALUE",
        help="further arguments of its constructor (default: none)",
    )
    options.add_argument(
        "--like",
        metavar="KIND",
        help="what it should be: batch, layer, group, instance, rms, or other, which "
        "has no formula to compare with (default: found out by its name, or else by "
        "its output; with --folder and --json batch)",
    )
    options.add_argument(
        "--explain",
        action="store_true",
        help="show why each fault matters, and an example of the fix in code",
    )
    options.add_argument(
        "--strict",
        action="store_true",
        help="let remarks, which cost no points, be reason enough for exit code 1",
    )
    options.add_argument(
        "--compile",
        action="store_true",
        help="try torch.compile too, which takes some seconds",
    )
    options.add_argument(
        "--json",
        nargs="?",
        const="gradescope",
        metavar="FORMAT",
        help="print points per property for an autograder: gradescope (the format if "
        "none is given) or otter; the layer runs in a process with limits",
    )
    _add_folder_options(options)
    return options


def _add_folder_options(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--folder",
        type=Path,
        metavar="SUBMISSIONS",
        help="grade every Python file, notebook and folder in this folder, each in a "
        "process of its own with limits; exit code 0 once all have grades",
    )
    options.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="table of grades to write, for --folder (default: none)",
    )
    options.add_argument(
        "--seconds",
        type=int,
        default=60,
        metavar="S",
        help="time that a submission may take (default: %(default)s)",
    )
    options.add_argument(
        "--memory",
        type=int,
        default=2048,
        metavar="MIB",
        help="memory that a submission may use beyond that of torch "
        "(default: %(default)s)",
    )
    options.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="submissions that are examined side by side (default: one per core)",
    )


def _check(options: argparse.Namespace) -> int:
    """Examine one layer; the exit code."""
    if options.norm is None:
        raise ValueError(
            "there is nothing to check; name a layer as FILE.py:CLASS, or a folder "
            "of them with --folder"
        )
    if options.csv is not None:
        raise ValueError("--csv is for a folder of submissions; add --folder")
    if options.json is not None:
        return _print_json(options)

    # Imported late, so that --help answers at once.
    from rich.console import Console

    from normlab.check.cost import measure_cost
    from normlab.check.display import print_cost, print_examination
    from normlab.check.examination import broken, examine
    from normlab.check.kinds import kind_of_title
    from normlab.check.notebooks import loaded
    from normlab.norms.loading import BrokenNorm

    arguments = parse_options(options.options)
    cost = None
    # What the layer itself prints is no part of the answer.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            with loaded(options.norm) as (target, cells):
                like = check_like(options)
                found = examine(target, arguments, like, options.compile, cells)
                if found.inputs:
                    kind = kind_of_title(found.kind)
                    cost = measure_cost(target, arguments, kind, found.inputs[-1])
        except BrokenNorm as error:
            found = broken(options.norm, str(error), error.line, options.like)
    width = None if sys.stdout.isatty() else 80
    console = Console(highlight=False, width=width, emoji=False)
    print_examination(console, found, options.explain)
    if cost is not None:
        console.print()
        print_cost(console, cost)
    is_faulty = found.faults or (options.strict and found.remarks)
    return FAULTY if is_faulty else 0


def check_like(options: argparse.Namespace) -> str | None:
    """The kind that was asked for, if it is one.

    Raises:
        ValueError: it is none.
    """
    from normlab.check.kinds import check_kind

    return None if options.like is None else check_kind(options.like).name


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Arguments of a constructor from `NAME=VALUE`, with values as in YAML.

    Raises:
        ValueError: a word has no `=`, or a value is no YAML.
    """
    import yaml

    found = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"an option must be NAME=VALUE, got {word!r}")
        try:
            found[name] = number_or(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ValueError(f"{name} must be a value of YAML, got {text!r}") from error
    return found


def number_or(value: Any) -> Any:
    """`1e-5` as a number, which YAML takes for a text."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _print_json(options: argparse.Namespace) -> int:
    """Print the grade of one layer for an autograder."""
    from normlab.check.grades import FORMATS, as_json
    from normlab.check.submissions import Worker, grade_submission, split_file

    if options.json not in FORMATS:
        raise ValueError(
            f"--json must be one of {', '.join(FORMATS)}, got {options.json!r}"
        )
    path, norm = split_file(options.norm)
    task = task_of(options, path.name, norm)
    with contextlib.closing(Worker()) as worker:
        grade = grade_submission(path.stem, path, task, worker)
    print(json.dumps(as_json(grade, options.json), indent=2))
    findings = grade.examination
    is_faulty = findings.faults or (options.strict and findings.remarks)
    return FAULTY if is_faulty else 0


def task_of(options: argparse.Namespace, file: str, norm: str) -> "Task":
    """How submissions are examined, from the options of the command line.

    Raises:
        ValueError: a limit is below 1, or there is no such kind.
    """
    from normlab.check.submissions import Limits, Task

    for name in ("seconds", "memory"):
        if getattr(options, name) < 1:
            raise ValueError(
                f"--{name} must be at least 1, got {getattr(options, name)}"
            )
    return Task(
        file=file,
        norm=norm,
        options=parse_options(options.options),
        like=check_like(options) or "batch",
        compiled=options.compile,
        limits=Limits(options.seconds, options.memory * 2**20),
    )


def _grade_folder(options: argparse.Namespace) -> int:
    """Grade a folder of submissions; the exit code."""
    from rich.console import Console

    from normlab.check.display import grades_table
    from normlab.check.grades import check_csv, write_csv
    from normlab.check.submissions import find_submissions, grade_all
    from normlab.check.time_left import TimeLeft
    from normlab.terminal import escaped, with_progress

    if options.json is not None or options.explain:
        raise ValueError("--folder cannot be combined with --json or --explain")
    if options.norm is not None and "=" in options.norm:  # NAME=VALUE came first
        options.options.insert(0, options.norm)
        options.norm = None
    file, norm = split_wanted(options.norm or "")
    jobs = len(os.sched_getaffinity(0)) if options.jobs is None else options.jobs
    if jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {jobs}")
    task = task_of(options, file, norm)
    submissions = find_submissions(options.folder, file)
    if options.csv is not None:
        check_csv(options.csv)
    total = len(submissions)
    time_left = TimeLeft(total, jobs)
    graded = time_left.watching(grade_all(submissions, task, jobs))
    by_name = {}
    for grade in with_progress(graded, total, "grading", time_left):
        by_name[grade.submission] = grade
    grades = [by_name[name] for name in submissions]
    console = Console(highlight=False, emoji=False)
    console.print(grades_table(grades))
    if options.csv is not None:
        write_csv(options.csv, grades)
        console.print(f"[dim]table[/dim]  {escaped(options.csv)}", soft_wrap=True)
    return 0


def split_wanted(text: str) -> tuple[str, str]:
    """File and class of a submission from `FILE.py:CLASS`, `FILE.py` or `CLASS`.

    The file may be a notebook, `FILE.ipynb`.
    """
    if text.endswith((".py", ".ipynb")):
        return text, ""
    file, _, norm = text.rpartition(":")
    return file, norm


def _exit_with(error: Exception) -> NoReturn:
    from normlab.option_names import with_option_names
    from normlab.terminal import print_line

    message = with_option_names(str(error), OPTIONS)
    print_line(f"error: {message}")
    sys.exit(USER_MISTAKE)
