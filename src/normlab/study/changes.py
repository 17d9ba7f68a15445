"""Whether the plan of a study is the one that its runs were started with."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from normlab.compare.settings import setting_text
from normlab.config.stored_plan import NOT_PLANNED
from normlab.study.definition import Study
from normlab.study.plans import MACHINE_SETTINGS

MAX_CHANGES = 6
ABSENT = "not there"
PLAN, BLOCK = "plan", "study."  # columns of runs: the whole plan, and the block alone
RULE = "rules."

# What stands before the rule of a claim, by what is known of it.
BEFORE = "The rule, written before the runs"
IN_PART = "The rule, written before the runs, which store no grid and no settings"
CHANGED = "The rule of a plan that was changed after runs were started"
REWORDED = "The rule, which had other words when the runs were started"
UNKNOWN = "The rule; the runs do not store when it was written"

Flat = dict[str, str]  # a plan, by the dotted keys of its file
Change = tuple[str, str, str]  # key, old value, new value


@dataclass
class PlanRecord:
    """What the runs of a study say about its plan.

    Attributes:
        origin: what stands before the rule of a claim.
        changed: whether any run was started under another plan.
        lines: what a reader must know of it.
    """

    origin: str = BEFORE
    changed: bool = False
    lines: list[str] = field(default_factory=list)


def plan_record(study: Study, runs: pd.DataFrame) -> PlanRecord:
    """Compare the plan with the one that every run stored when it started.

    Args:
        study: the plan as it is now.
        runs: of the study, also those outside of its grid; none of a trial.
    """
    now = flat_plan(study.whole_plan)
    record = PlanRecord()
    whole = _texts(runs)
    stored = whole.dropna()
    blocks = _blocks(runs[whole.isna()])
    num_unknown = len(runs) - len(stored) - len(blocks)
    if num_unknown:
        _tell_unknown(record, num_unknown, len(runs))
    if blocks:
        record.origin = IN_PART
        record.lines.append(
            f"{len(blocks)} of {len(runs)} runs were started by a version that stored "
            "the study: block alone: whether grid or settings were changed since then "
            "is not known."
        )

    changes: Counter[Change] = Counter()
    for text, count in stored.value_counts().items():
        then = _stored(str(text))
        for change in _differences(then, now):
            changes[change] += count
    of_block = {key: now[key] for key in now if key.startswith(BLOCK)}
    for then in blocks:
        changes.update(_differences(then, of_block))
    _tell_changes(record, changes, len(runs))
    return record


def flat_plan(plan: dict[str, Any]) -> Flat:
    """A plan by the dotted keys of its file, and the words of its rules by `rules.`.

    Keys that say where data lie and what computes are left out.

    Args:
        plan: from `normlab.config.stored_plan.whole_plan`.
    """
    flat = _flat(plan["file"])
    for name, words in plan["rules"].items():
        flat[f"{RULE}{name}"] = words
    return flat


def _flat(node: Any, name: str = "") -> Flat:
    """The leaves of nested tables; members of a list of tables count from 1."""
    if isinstance(node, list) and node and isinstance(node[0], dict):
        node = dict(enumerate(node, 1))
    if not isinstance(node, dict):
        return {name: setting_text(node)}
    flat: Flat = {}
    for key, value in node.items():
        if key in MACHINE_SETTINGS:
            continue
        full_name = f"{name}.{key}" if name else str(key)
        flat |= _flat(value, full_name)
    return flat


def _texts(runs: pd.DataFrame) -> pd.Series:
    """The stored plan of every run; missing where there is none."""
    if PLAN not in runs:
        return pd.Series(
            None,
            index=runs.index,
            dtype=object,
        )
    return runs[PLAN]


def _stored(text: str) -> Flat:
    """A stored plan; empty if it is none, so that it differs from every other."""
    try:
        return flat_plan(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def _blocks(runs: pd.DataFrame) -> list[Flat]:
    """The `study:` block of the runs that store it, which have no more of a plan."""
    columns = []
    for column in runs.columns:
        name = column.removeprefix(BLOCK)
        if column.startswith(BLOCK) and name not in NOT_PLANNED:
            columns.append(column)
    blocks = []
    for _, row in runs[columns].iterrows():
        flat: Flat = {}
        for key, value in row.dropna().items():
            flat |= _flat(_unpacked(value), str(key))
        if flat:
            blocks.append(flat)
    return blocks


def _unpacked(value: Any) -> Any:
    """A list that a table of runs holds as JSON, or the value itself."""
    if not isinstance(value, str) or not value.startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _differences(then: Flat, now: Flat) -> Iterator[Change]:
    """What differs between a stored plan and the one of now."""
    for key in sorted({*then, *now}):
        old = then.get(key, ABSENT)
        new = now.get(key, ABSENT)
        if old != new:
            yield key, old, new


def _tell_unknown(record: PlanRecord, count: int, num_runs: int) -> None:
    record.origin = UNKNOWN
    which = "The runs" if count == num_runs else f"{count} of {num_runs} runs"
    record.lines.append(
        f"{which} do not carry the study's plan: they were not started by it."
    )


def _tell_changes(
    record: PlanRecord,
    changes: Mapping[Change, int],
    num_runs: int,
) -> None:
    texts = []
    for (key, old, new), count in changes.items():
        of_all = f"{count} of {num_runs} runs"
        if not key.startswith(RULE):
            where = "" if count == num_runs else f" in {of_all}"
            texts.append(f"{key} was {old}{where} and is {new}")
        elif ABSENT not in (old, new):  # else another expectation, which is told
            name = key.removeprefix(RULE)
            record.origin = REWORDED
            record.lines.append(
                f"normlab judged `{name}` by other words when {of_all} were started: "
                f"{old}."
            )
    if not texts:
        return
    record.changed = True
    record.origin = CHANGED
    shown = texts[:MAX_CHANGES]
    more = len(texts) - len(shown)
    if more:
        shown.append(f"and {more} more changes")
    listed = "; ".join(shown)
    record.lines.append(
        "The plan was changed after runs were started, and its verdict is "
        f"exploratory: {listed}."
    )
