"""What the columns of a table of runs mean: settings, metrics, or facts about a run."""

from collections.abc import Iterable
from difflib import get_close_matches

import pandas as pd

from normlab.config.identity import NOT_PART_OF_THE_RESULT
from normlab.metrics import is_metric

# Fields of result.json that are strings; null where unknown.
TEXT_FIELDS = (
    "reason",
    "ended_by",
    "config_digest",
    "initial_weights",
    "data_digest",
)
# Fields of result.json that are numbers.
NUMBER_FIELDS = (
    "seconds",
    "processor_seconds",
    "peak_memory_mib",
    "peak_device_memory_mib",
    "epochs",
    "best_epoch",
    "steps",
    "samples_per_second",
    "step_milliseconds",
    "outside_share",
    "compile_seconds",
    "stacked",
    "num_parameters",
    "num_norm_parameters",
    "num_norm_layers",
    "step_flops",
    "diverged_at_step",
)
# True if environment.json was changed after the run ended: its origin is not known.
CHANGED_ORIGIN = "environment.changed"
# What the seed of a run without one begins with; a number follows.
NO_SEED = "no seed"
# A metric that `selection.largest_stable` computes from several runs.
LARGEST_STABLE_RATE = "log10 largest stable learning rate"
RESULT_COLUMNS = (
    "run",
    "folder",
    "arm",
    "where",
    "status",
    "synchronized",
    "cautions",
    LARGEST_STABLE_RATE,
    *TEXT_FIELDS,
    *NUMBER_FIELDS,
)

CHOICES = ("dataset", "model", "norm", "optimizer", "scheduler", "device")
# Settings that name or record a run and do not change what it computes.
UNCOMPARED = (
    *NOT_PART_OF_THE_RESULT,
    "study",
    "experiment",
    "debug",
    "checkpoint",
    "statistics",
)

MAX_NAMES = 20  # that a message lists


def setting_columns(runs: pd.DataFrame) -> list[str]:
    """Columns with settings that a result depends on, the picked names first."""
    settings = list(filter(_is_setting, runs.columns))
    choices = [name for name in CHOICES if name in settings]
    others = [name for name in settings if name not in choices]
    return choices + others


def _is_setting(column: str) -> bool:
    if is_metric(column) or column in RESULT_COLUMNS:
        return False
    group = column.partition(".")[0]
    return group != "environment" and group not in UNCOMPARED


def metric_columns(runs: pd.DataFrame) -> list[str]:
    """Columns that can be compared: the metrics, and the counts that every run has."""
    counts = (LARGEST_STABLE_RATE, *NUMBER_FIELDS)
    found = []
    for name in runs.columns:
        if is_metric(name) or name in counts:
            found.append(name)
    return found


def rows_of_arm(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The rows of one arm.

    Args:
        table: such as a table of runs, with their arm in `arm`.
        arm: the label of the arm.
    """
    return table[table["arm"] == arm]


def check_key(name: str, known: Iterable[str], kind: str) -> str:
    """Return `name` if it is among the known names.

    Args:
        name: what the user wrote.
        known: names that the runs have.
        kind: what the names are, such as `setting`; for the message.

    Raises:
        ValueError: for an unknown name. The message suggests similar names or, if there
            are none, lists the first twenty; names that contain a comma are quoted.
    """
    known = list(known)
    if name in known:
        return name

    similar = _similar_names(name, known)
    if similar:
        hint = f"did you mean {' or '.join(map(_quoted, similar))}?"
    else:
        listed = known[:MAX_NAMES]
        hint = f"known are {', '.join(map(_quoted, listed))}"
        if len(known) > MAX_NAMES:
            hint += f" and {len(known) - MAX_NAMES} more"
    raise ValueError(f"the runs have no {kind} {name!r}; {hint}")


def _quoted(name: str) -> str:
    """The name in quotes if it contains a comma, as those of some arms do."""
    return f"'{name}'" if "," in name else name


def _similar_names(name: str, known: list[str]) -> list[str]:
    """Up to three names: those that end or begin with `name`, or else look like it."""
    same_end = []
    same_letters = []
    same_start = []
    for other in known:
        # `lr` of `optimizer.lr`, `accuracy` of `test/accuracy`
        if other.endswith((f".{name}", f"/{name}")):
            same_end.append(other)
        if other.lower() == name.lower():
            same_letters.append(other)
        # An arm of several settings is named `none, optimizer.lr=0.1`.
        if other.startswith(f"{name}, "):
            same_start.append(other)
    similar = [*same_end, *same_letters, *same_start]
    return similar[:3] or get_close_matches(name, known, n=3, cutoff=0.5)
