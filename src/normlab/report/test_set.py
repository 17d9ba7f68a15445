"""What a report says about the noise of the test set, and about its samples."""

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.confusions import class_names
from normlab.compare.sentences import p_value
from normlab.compare.test_part import TestPart, read_test_part
from normlab.report.additions import Addition
from normlab.report.tables import mcnemar_table, noise_table, samples_table

MOST_SHOWN = 10  # samples of one contrast
MOST_OF_EACH = 3  # samples of each of several contrasts
MOST_ROWS = 30
EXPLANATION = """The interval over seeds is about other seeds and the same test samples;
the one over seeds and test samples is also about other test samples of the same kind
(bootstrap over both)."""


def about_test_set(comparison: Comparison, with_samples: bool) -> Addition:
    """Tables and sentences from the test predictions that the runs stored.

    Args:
        comparison: The comparison whose runs are read.
        with_samples: Whether the samples on which the arms differ are listed.
    """
    part = read_test_part(comparison)
    addition = Addition(warnings=part.warnings)
    if part.noise:
        addition.tables.append(noise_table(part.noise, comparison))
        addition.frames["test_noise"] = pd.DataFrame(part.noise)
        addition.notes += _noise_notes(part)
    if part.single:
        addition.tables.append(mcnemar_table(part.single))
        addition.frames["mcnemar"] = pd.DataFrame(part.single)
        addition.notes += [_mcnemar_sentence(row) for row in part.single]
    if part.samples and with_samples:
        rows = _with_names(part.samples, comparison)
        addition.tables.append(samples_table(_first_of_each(rows), comparison.metric))
        addition.frames["test_samples"] = pd.DataFrame(rows)
    return addition


def _noise_notes(part: TestPart) -> list[str]:
    notes = [" ".join(EXPLANATION.split())]
    vanishing = []
    for row in part.noise:
        told_apart = row["seeds_low"] > 0 or row["seeds_high"] < 0
        if told_apart and row["low"] <= 0 <= row["high"]:
            vanishing.append(_contrast_name(row))
    if vanishing:
        notes.append(
            "On other test samples the difference may vanish, since the interval over "
            f"seeds and test samples contains 0: {'; '.join(vanishing)}."
        )
    return notes


def _contrast_name(row: dict) -> str:
    at = f" at {row['where']}" if row["where"] else ""
    return f"{row['arm']} and {row['baseline']}{at}"


def _mcnemar_sentence(row: dict) -> str:
    """What McNemar's test says of two runs, and what it does not."""
    at = f"At {row['where']}: " if row["where"] else ""
    return (
        f"{at}{row['arm']} alone is right on {row['only_arm']} of {row['samples']:,} "
        f"test samples, {row['baseline']} alone on {row['only_baseline']} (McNemar's "
        f"exact test, {p_value(row['p'])}). This is about two trained networks; other "
        "seeds may reverse it."
    )


def _first_of_each(rows: list[dict]) -> list[dict]:
    """The first samples of every contrast, as many as a page has room for."""
    counts: dict[tuple[str, str], int] = {}
    kept = []
    contrasts = {(row["where"], row["arm"]) for row in rows}
    most = MOST_SHOWN if len(contrasts) == 1 else MOST_OF_EACH
    for row in rows:
        contrast = (row["where"], row["arm"])
        counts[contrast] = counts.get(contrast, 0) + 1
        if counts[contrast] <= most:
            kept.append(row)
    return kept[:MOST_ROWS]


def _with_names(rows: list[dict], comparison: Comparison) -> list[dict]:
    """The rows with the names of classes, if the runs name any."""
    named = []
    names: dict[str, list[str]] = {}
    for row in rows:
        where = row["where"]
        if where not in names:
            runs = comparison.runs
            names[where] = class_names(runs[runs["where"] == where])
        texts = {}
        for key in ("target", "predicted", "predicted_baseline"):
            texts[key] = _class_name(names[where], row[key])
        named.append(row | texts)
    return named


def _class_name(names: list[str], value: float) -> float | str:
    """The name of a class, or the value itself if there is none."""
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else str(value)
    return value
