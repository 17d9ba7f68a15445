"""The options of command lines that are arguments of `compare`."""

import argparse
from collections.abc import Sequence
from typing import Any

# What is compared; `compare` has the defaults.
OF_RUNS = ("by", "metric", "baseline", "within", "arms")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about runs and their arms, which are `OF_RUNS`."""
    add = parser.add_argument
    add(
        "--by",
        metavar="KEY[,KEY]",
        help="settings whose values are the arms (default: norm)",
    )
    add("--metric", help="the metric to compare (default: test/accuracy)")
    add(
        "--baseline",
        metavar="ARM",
        help="the arm that the others are compared to (default: the first whose name "
        "begins with none, or else the first of all)",
    )
    add(
        "--within",
        nargs="+",
        metavar="KEY",
        help="settings whose values are compared separately (default: all that vary "
        "besides arm and seed)",
    )
    add(
        "--arms",
        nargs="+",
        metavar="ARM",
        help="the arms that are compared to the baseline (default: all)",
    )


def add_level(parser: argparse.ArgumentParser) -> None:
    """Add the option with the level of all contrasts."""
    parser.add_argument(
        "--level",
        type=float,
        help="probability of a false alarm over all contrasts (default: 0.05)",
    )


def compare_arguments(
    options: argparse.Namespace, names: Sequence[str]
) -> dict[str, Any]:
    """The arguments of `compare` that were given.

    Args:
        options: as they were read.
        names: of the options that are arguments of `compare`.
    """
    arguments = {}
    for name in names:
        value = getattr(options, name)
        if value is not None:
            arguments[name] = value
    if "by" in arguments:
        arguments["by"] = named_keys(arguments["by"])
    return arguments


def named_keys(text: str | None) -> list[str] | None:
    """Settings that are named with commas between them; None if none were asked for."""
    if text is None:
        return None
    return [key.strip() for key in text.split(",") if key.strip()]
