"""Checks of an arm against the baseline: do they differ in what is not compared?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from normlab.compare.settings import (
    differences,
    is_compared,
    pairing_keys,
    setting_text,
)

SAME, DIFFERENT, UNKNOWN = "the same", "different", "not recorded"
# Arms that differ in one of these are different networks, and are meant to be.
CHANGES_WEIGHTS = ("model", "dataset", "reparametrize")


@dataclass(frozen=True)
class Check:
    """One condition of a fair comparison.

    Attributes:
        name: what should be alike.
        result: the same, different, or not recorded.
        message: one sentence, with the numbers.
        warns: whether a reader must know it before believing the comparison.
    """

    name: str
    result: str
    message: str
    warns: bool = False


@dataclass(frozen=True)
class ArmPair:
    """An arm and the baseline in one group of runs that differ in nothing else.

    Attributes:
        prefix: what a sentence about them begins with, `At model=vgg, `; empty if there
            is one group only.
        arm: name of the arm.
        baseline: name of the baseline.
        runs: runs of the arm.
        reference: runs of the baseline.
        by: the settings that are compared.
    """

    prefix: str
    arm: str
    baseline: str
    runs: pd.DataFrame
    reference: pd.DataFrame
    by: Sequence[str]

    @property
    def names(self) -> str:
        """What a sentence about both begins with: `At model=vgg, custom and none`."""
        return f"{self.prefix}{self.arm} and {self.baseline}"

    def compares(self, groups: Sequence[str]) -> bool:
        """Whether the arms are meant to differ in one of these groups of settings."""
        compared = {key.partition(".")[0] for key in self.by}
        return not compared.isdisjoint(groups)

    @property
    def both(self) -> pd.DataFrame:
        """The runs of the arm and those of the baseline."""
        return pd.concat([self.runs, self.reference])

    def matched(self, column: str) -> pd.DataFrame:
        """Values of a column in runs that share seed and fold.

        Returns:
            One row per pair in which both runs have a value, with the columns `arm` and
            `baseline`.
        """
        both = self.both
        sides = ["arm", "baseline"]
        if column not in both:
            return pd.DataFrame(columns=sides)
        keys = pairing_keys(both)
        pairs = self.runs[[*keys, column]].merge(
            self.reference[[*keys, column]],
            on=keys,
            suffixes=("", " "),
        )
        pairs.columns = [*keys, *sides]
        return pairs[sides].dropna()


def group_prefix(where: str) -> str:
    return f"At {where}, " if where else ""


def _num_different(pairs: pd.DataFrame) -> int:
    """Number of pairs whose values differ; see `ArmPair.matched`."""
    differs = pairs["arm"] != pairs["baseline"]
    return int(differs.sum())


def settings(pair: ArmPair) -> Iterator[Check]:
    """All settings that are not compared: data, model, optimizer, batch size, ..."""
    found = differences(pair.runs, pair.reference, pair.by)
    if not found:
        compared = ", ".join(pair.by)
        message = f"All settings but {compared} (and what belongs to it) are alike."
        yield Check("settings", SAME, message)
    for key, (value, expected) in found.items():
        message = f"{pair.names} also differ in {key} ({value} against {expected})."
        yield Check("settings", DIFFERENT, message, warns=True)


def initial_weights(pair: ArmPair) -> Iterator[Check]:
    """The digest of the weights outside of the norm, in runs that share a seed."""
    if pair.compares(CHANGES_WEIGHTS):
        return
    name = "initial weights"
    column = "initial_weights"
    # Without the names of the arms, so that this is said once for all of them.
    if column not in pair.runs:
        yield Check(name, UNKNOWN, "The runs do not record their initial weights.")
        return
    is_common = pair.runs["seed"].isin(pair.reference["seed"])
    if not is_common.any():
        yield Check(name, UNKNOWN, f"{pair.names} share no seed.")
        return
    digests = pair.matched(column)
    if digests.empty:
        who = pair.names
        if pair.both[column].isna().all():
            who = "The arms"
        message = (
            f"{who} may start from different weights: their runs did not record their "
            "initial weights."
        )
        yield Check(name, UNKNOWN, message, warns=True)
        return

    num_different = _num_different(digests)
    if num_different:
        message = (
            f"{pair.names} start from other weights in {num_different} of "
            f"{len(digests)} pairs of runs."
        )
        yield Check(name, DIFFERENT, message, warns=True)
    else:
        message = (
            "Runs that share a seed start from the same weights outside of the norm."
        )
        yield Check(name, SAME, message)


def parameters(pair: ArmPair) -> Iterator[Check]:
    """The number of parameters, of which the norm's own may differ."""
    if pair.compares(CHANGES_WEIGHTS):
        return
    name = "parameters"
    for column in ("num_parameters", "num_norm_parameters"):
        if not (_records(pair.runs, column) and _records(pair.reference, column)):
            message = "The runs did not record how many parameters are the norm's own."
            yield Check(name, UNKNOWN, message)
            return

    total, own = _num_parameters(pair.runs)
    base_total, base_own = _num_parameters(pair.reference)
    excess = (total - own) - (base_total - base_own)
    message = (
        f"{pair.arm} has {total:,} parameters, {own:,} of them the norm's; "
        f"{pair.baseline} {base_total:,}, {base_own:,} of them the norm's"
    )
    if excess > 0:
        message = f"{pair.prefix}{message}: {excess:,} more outside of the norm"
    elif excess < 0:
        message = f"{pair.prefix}{message}: {-excess:,} fewer outside of the norm"
    alike = total == base_total and own == base_own
    result = SAME if alike else DIFFERENT
    yield Check(name, result, f"{message}.", warns=excess != 0)


def _records(runs: pd.DataFrame, column: str) -> bool:
    """Whether any run has a value in a column."""
    return column in runs and bool(runs[column].notna().any())


def _num_parameters(runs: pd.DataFrame) -> tuple[int, int]:
    """Number of parameters, and how many of them are the norm's own."""
    totals = runs["num_parameters"].dropna()
    owns = runs["num_norm_parameters"].dropna()
    total = int(totals.iloc[0])
    own = int(owns.iloc[0])
    return total, own


def steps(pair: ArmPair) -> Iterator[Check]:
    """Optimizer steps per epoch, in runs that share a seed and finished.

    They differ if one arm drops a last, smaller batch and the other does not.
    """
    if pair.compares(("dataset",)):
        return
    num_steps = pair.matched("steps")
    num_epochs = pair.matched("epochs")
    if not (_is_positive(num_steps) and _is_positive(num_epochs)):
        return
    if pair.both["status"].ne("finished").any():
        return  # a diverged run ends within an epoch

    ratios = num_steps / num_epochs
    num_different = _num_different(ratios)
    if num_different:
        message = (
            f"{pair.names} take a different number of steps per epoch in "
            f"{num_different} of {len(ratios)} pairs."
        )
        yield Check("steps per epoch", DIFFERENT, message, warns=True)
    else:
        message = "Every epoch has as many optimizer steps in all arms."
        yield Check("steps per epoch", SAME, message)


def _is_positive(table: pd.DataFrame) -> bool:
    """Whether the table has rows and all its values are above 0."""
    if table.empty:
        return False
    is_positive = table > 0
    return bool(is_positive.all(axis=None))


def weight_decay(pair: ArmPair) -> Iterator[Check]:
    """Whether decay also shrinks the norm's scale and shift.

    An arm without norm has no such parameters.
    """
    both = pair.both
    if not {"optimizer.weight_decay", "optimizer.decay_rank_one"} <= set(both.columns):
        return
    decay = pd.to_numeric(both["optimizer.weight_decay"], errors="coerce")
    if not (decay > 0).any():
        return

    on_norms = both["optimizer.decay_rank_one"].map(setting_text) == "true"
    if on_norms.any() and is_compared("norm.eps", pair.by):
        message = (
            "Weight decay also shrinks scale and shift of the norm "
            "(optimizer.decay_rank_one=true), in arms with one."
        )
        yield Check("weight decay", DIFFERENT, message, warns=True)
    else:
        message = "Weight decay leaves scale and shift of the norms alone."
        yield Check("weight decay", SAME, message)


CHECKS: tuple[Callable[[ArmPair], Iterator[Check]], ...] = (
    settings,
    initial_weights,
    parameters,
    steps,
    weight_decay,
)
