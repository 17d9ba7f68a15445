"""Contrasts of one verdict, which the page shows in one card."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normlab.compare.sentences import number, signed

FEWEST_LISTED = 3  # contrasts of one verdict; the sentences of fewer are shown whole


@dataclass(frozen=True)
class VerdictGroup:
    """The contrasts that have one verdict.

    Attributes:
        verdict: The verdict.
        sentences: A sentence for each contrast.
        lines: What is compared, and its difference with interval; empty for a few
            contrasts, whose sentences say it.
        reason: What all sentences end with, if they are not shown; it may be empty.
    """

    verdict: str
    sentences: list[str]
    lines: list[tuple[str, str]]
    reason: str


def verdict_groups(contrasts: pd.DataFrame) -> list[VerdictGroup]:
    """Group contrasts by their verdicts, in the order in which these first occur.

    Args:
        contrasts: The table of a comparison, which may have no rows.
    """
    groups: dict[str, list[dict[Any, Any]]] = {}
    for row in contrasts.to_dict("records"):
        groups.setdefault(row["verdict"], []).append(row)
    return [_group(verdict, rows) for verdict, rows in groups.items()]


def _group(verdict: str, rows: list[dict[Any, Any]]) -> VerdictGroup:
    sentences = [row["sentence"] for row in rows]
    if len(rows) < FEWEST_LISTED:
        return VerdictGroup(verdict, sentences, [], "")
    lines = [(_compared(row), _difference(row)) for row in rows]
    return VerdictGroup(verdict, sentences, lines, _shared_reason(sentences))


def _compared(row: dict[Any, Any]) -> str:
    text = f"{row['arm']} − {row['baseline']}"
    return f"{text} at {row['where']}" if row["where"] else text


def _difference(row: dict[Any, Any]) -> str:
    difference = signed(row["difference"])
    if number(row["low_holm"]) == number(None):
        return difference
    return f"{difference} ({signed(row['low_holm'])} to {signed(row['high_holm'])})"


def _shared_reason(sentences: Sequence[str]) -> str:
    """What follows the interval in every sentence, if it is the same in all."""
    reasons = {sentence.partition("), ")[2] for sentence in sentences}
    if len(reasons) > 1:
        return ""
    reason = reasons.pop().removeprefix("but ")
    return reason[:1].upper() + reason[1:]


def merge_alike(warnings: Sequence[str], arms: Sequence[str]) -> list[str]:
    """Say once what several warnings say of several arms.

    Args:
        warnings: Sentences, of which some begin with `ARM: `.
        arms: The names of all arms.
    """
    named: dict[str, list[str]] = {}
    for warning in warnings:
        arm, _, rest = warning.partition(": ")
        text = rest if arm in arms and rest else warning
        named.setdefault(text, [])
        if text is rest:
            named[text].append(arm)
    merged = []
    for text, names in named.items():
        merged.append(f"{', '.join(names)}: {text}" if names else text)
    return merged
