"""The options of the scripts, from their parsers."""

import argparse
import runpy
import sys
from functools import cache
from pathlib import Path
from unittest import mock

from docs.paths import FRAGMENTS, ROOT, write_if_changed

SCRIPTS = (
    "scripts/compare.py",
    "scripts/plan.py",
    "scripts/evaluate.py",
    "scripts/inspect_norms.py",
    "scripts/find_lr.py",
    "scripts/predict.py",
    "scripts/export.py",
    "scripts/why.py",
    "scripts/check.py",
    "scripts/jobs.py",
    "scripts/covariate_shift.py",
    "scripts/tolerances.py",
    "scripts/reproduction",
    "benchmarks/run_all.py",
)


class _Found(Exception):
    """Carries a parser out of the script that made it."""


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a script: what it has made when it begins to parse."""

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Found(parser)

    path = str(ROOT / script)
    folder = path if Path(path).is_dir() else str(Path(path).parent)
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        mock.patch.object(argparse.ArgumentParser, "parse_intermixed_args", stop),
        mock.patch.object(sys, "argv", [script]),
        mock.patch.object(sys, "path", [folder, *sys.path]),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except _Found as found:
            return found.args[0]
    raise ValueError(f"{script} parses no arguments")


def write_fragments() -> None:
    """Write one table per script, which `docs/reference/command-line.md` includes."""
    for script in SCRIPTS:
        path = FRAGMENTS / "command-line" / f"{Path(script).stem}.md"
        write_if_changed(path, options_table(parser_of(script)))


def options_table(parser: argparse.ArgumentParser) -> str:
    """Options and positional arguments, with their help."""
    lines = ["| option | meaning |", "|---|---|"]
    formatter = parser._get_formatter()  # these are private, as of Python 3.11
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            text = formatter._expand_help(action) if action.help else ""
            text = text.replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| `{usage(action)}` | {text} |")
    return "\n".join(lines) + "\n"


def usage(action: argparse.Action) -> str:
    """An option with its value, as a help text shows it."""
    if not action.option_strings:
        return action.dest
    option = ", ".join(action.option_strings)
    if action.nargs == 0:
        return option
    value = str(action.metavar or action.dest.upper())
    if isinstance(action.nargs, int):
        value = " ".join([value] * action.nargs)
    if action.nargs in ("+", "*"):
        value = f"{value} ..."
    return f"{option} {value}"
