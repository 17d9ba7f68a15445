"""Checks of where the runs of two arms come from, and of how long they trained."""

from collections.abc import Iterator

import pandas as pd

from normlab.compare.arm_checks import DIFFERENT, SAME, UNKNOWN, ArmPair, Check
from normlab.compare.settings import distinct_texts, setting_text

PACKAGES = "environment.packages."
# Columns with an origin besides the packages, and what a sentence calls their values.
ORIGINS = {
    "environment.git.commit": "commit",
    "environment.git.dirty": "uncommitted changes",
    "environment.python": "Python",
    "environment.device.name": "device",
    "environment.platform": "platform",
}
DIGITS_OF_COMMIT = 10
FOLDERS = ("dataset.root", "dataset.load.root")
# Settings by which a run may end before its last epoch.
EARLY_ENDS = (
    "trainer.patience",
    "trainer.stop_at",
    "trainer.max_steps",
    "trainer.max_seconds",
)
LONGER = 1.5  # ratio of the epochs of two arms from which on a warning is given


def data(pair: ArmPair) -> Iterator[Check]:
    """The digest of the data; where it was not stored, the folder they came from."""
    if pair.compares(("dataset",)):
        return
    digests = _values(pair.runs, "data_digest")
    expected = _values(pair.reference, "data_digest")
    if not digests or not expected:
        yield _folders(pair)
    elif digests == expected:
        message = "The arms have the same data, as far as sizes and a sample show."
        yield Check("data", SAME, message)
    else:
        message = (
            f"{pair.names} were trained and tested on different data, as sizes or a "
            f"sample show (digest {digests} against {expected})."
        )
        yield Check("data", DIFFERENT, message, warns=True)


def _folders(pair: ArmPair) -> Check:
    """What is known of data whose digest was not stored."""
    for key in FOLDERS:
        folders = _values(pair.runs, key)
        expected = _values(pair.reference, key)
        if folders != expected:
            message = (
                f"{pair.names} read their data from {folders} and {expected}, and not "
                "all runs stored a digest by which to tell whether these are the same."
            )
            return Check("data", UNKNOWN, message, warns=True)
    message = "Not all runs stored a digest of their data."
    return Check("data", UNKNOWN, message)


def origin(pair: ArmPair) -> Iterator[Check]:
    """Commit, versions of packages, and machine; arms may share a mixture of them."""
    names = dict(ORIGINS)
    for column in pair.runs.columns:
        if column.startswith(PACKAGES):
            names[column] = column.removeprefix(PACKAGES)
    is_known = False
    texts = []
    for column, name in names.items():
        values = _values(pair.runs, column)
        expected = _values(pair.reference, column)
        if not values or not expected:
            continue
        is_known = True
        if values != expected:
            texts.append(f"{name} {values} against {expected}")
    if texts:
        differing = "; ".join(texts)
        message = (
            f"{pair.names} were made by different code, versions or machines, which "
            f"may explain a difference between them: {differing}."
        )
        yield Check("origin", DIFFERENT, message, warns=True)
    elif is_known:
        message = "Code, versions and machines do not differ between the arms."
        yield Check("origin", SAME, message)
    else:
        message = "The runs did not record what code and versions made them."
        yield Check("origin", UNKNOWN, message)


def _values(runs: pd.DataFrame, column: str) -> str:
    """The distinct values of a column as text; empty if there are none."""
    if column not in runs:
        return ""
    values = runs[column].dropna()
    if column == "environment.git.commit":
        values = values.map(setting_text).str[:DIGITS_OF_COMMIT]
    return distinct_texts(values)


def length(pair: ArmPair) -> Iterator[Check]:
    """Epochs of the runs that finished: did an arm end early, and for a reason?"""
    if pair.compares(("trainer",)):
        return
    epochs = _epochs(pair.runs)
    expected = _epochs(pair.reference)
    if epochs.empty or expected.empty:
        return
    unexplained = [
        *_unexplained(pair, pair.arm, pair.runs),
        *_unexplained(pair, pair.baseline, pair.reference),
    ]
    yield from unexplained
    usual = epochs.median()
    other = expected.median()
    if max(usual, other) >= LONGER * min(usual, other):
        message = (
            f"{pair.names} trained for different numbers of epochs: a median of "
            f"{usual:g} against {other:g}."
        )
        yield Check("length", DIFFERENT, message, warns=True)
    elif not unexplained:
        message = "The arms trained for about as many epochs."
        yield Check("length", SAME, message)


def _epochs(runs: pd.DataFrame) -> pd.Series:
    """The number of epochs of every run that finished."""
    if "epochs" not in runs:
        return pd.Series(dtype=float)
    epochs = runs.loc[runs["status"] == "finished", "epochs"]
    return epochs.dropna()


def _unexplained(pair: ArmPair, arm: str, runs: pd.DataFrame) -> Iterator[Check]:
    """A warning about runs that ended early without a setting that ends runs."""
    if "trainer.max_epochs" not in runs:
        return
    epochs = _epochs(runs)
    planned = pd.to_numeric(runs["trainer.max_epochs"], errors="coerce")
    is_short = epochs < planned[epochs.index]
    for key in EARLY_ENDS:
        if key in runs:
            is_short &= runs.loc[epochs.index, key].isna()
    count = int(is_short.sum())
    if count:
        message = (
            f"{pair.prefix}{count} of {len(epochs)} finished runs of {arm} ended "
            "before trainer.max_epochs, and no setting of theirs ends a run early."
        )
        yield Check("length", DIFFERENT, message, warns=True)


ORIGIN_CHECKS = (data, origin, length)
