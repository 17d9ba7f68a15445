"""The options of `compare` about results of other programs."""

import argparse

# Options about results of other programs.
OF_READING = ("seed", "fold", "status", "value", "ignore", "layout", "better")


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser, as a group of their own."""
    group = parser.add_argument_group("results of other programs")
    add = group.add_argument
    add(
        "--seed",
        metavar="COLUMN",
        help="the column by which runs of two arms are pairs (default: the one called "
        "seed; without one, the runs are compared as independent)",
    )
    add(
        "--fold",
        metavar="COLUMN",
        help="the column with the fold of a cross-validation (default: the one called "
        "fold)",
    )
    add(
        "--status",
        metavar="COLUMN",
        help="the column that says how a run ended, in words such as finished, crashed "
        "or diverged (default: the one called state or status)",
    )
    add(
        "--better",
        choices=("higher", "lower"),
        help="which values of the metric are better, if its name does not say",
    )
    add(
        "--value",
        choices=("last", "best"),
        help="which value to take of a metric with several per run (default: last)",
    )
    add(
        "--ignore",
        nargs="+",
        metavar="COLUMN",
        help="columns to leave out",
    )
    add(
        "--layout",
        metavar="PATTERN",
        help="form of the folder names of TensorBoard runs, such as "
        "{optimizer}/seed{seed}",
    )
