"""Checks that the arms of a comparison differ in nothing but what is compared.

They read what every run stored. What one run can tell about itself, before it trains,
is in `normlab.training.cautions`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from normlab.compare.settings import (
    arm_labels,
    differences,
    group_labels,
    is_compared,
    pairing_keys,
    setting_text,
    sorted_labels,
)

SAME, DIFFERENT, UNKNOWN = "the same", "different", "not recorded"
# Arms that differ in one of these are different networks, and are meant to be.
CHANGES_WEIGHTS = ("model", "dataset", "reparametrize")
START_COLUMNS = ("initial_weights", "num_parameters", "num_norm_parameters")
PARAMETER_COLUMNS = ["num_parameters", "num_norm_parameters"]

Groups = Sequence[tuple[str, pd.DataFrame]]


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

    def compares(self, groups: Sequence[str]) -> bool:
        """Whether the arms are meant to differ in one of these groups of settings."""
        return any(key.partition(".")[0] in groups for key in self.by)

    def matched(self, column: str) -> pd.DataFrame:
        """Values of a column in runs that share seed and fold.

        Returns:
            One row per pair in which both runs have a value, with the columns `arm` and
            `baseline`.
        """
        both = pd.concat([self.runs, self.reference])
        if column not in both:
            return pd.DataFrame(columns=["arm", "baseline"])
        keys = pairing_keys(both)
        pairs = self.runs[[*keys, column]].merge(
            self.reference[[*keys, column]], on=keys, suffixes=("", " ")
        )
        pairs = pairs.set_axis([*keys, "arm", "baseline"], axis=1)
        return pairs[["arm", "baseline"]].dropna()


def fairness_checks(groups: Groups, by: Sequence[str], baseline: str) -> list[Check]:
    """All checks of every arm against the baseline, in every group.

    A check that passes everywhere is listed once.

    Args:
        groups: label of a group and its runs, with their arm in `arm`.
        by: the settings that are compared.
        baseline: the arm that the others are compared to.
    """
    checks: list[Check] = []
    for pair in _arm_pairs(groups, by, baseline):
        for check in CHECKS:
            checks += check(pair)
    for where, group in groups:
        checks += synchronization(where, group)
    return _distinct(checks) + list(cautions(groups))


def start_warnings(
    settings: Sequence[dict[str, str]], results: Sequence[dict]
) -> list[str]:
    """Lines about arms that do not start from the same network outside of the norm.

    Args:
        settings: for every job of a sweep, the settings that vary between the jobs.
        results: for every job; those that never built a network are left out.
    """
    rows = []
    for job_settings, result in zip(settings, results, strict=True):
        start = {name: result.get(name) for name in START_COLUMNS}
        if None not in start.values():
            rows.append({"seed": "", **job_settings, **start})
    runs = pd.DataFrame(rows)

    by = sorted(key for key in runs.columns if _is_of_norm(key))
    if not by:
        return []
    runs = runs.assign(arm=arm_labels(runs, by))
    other = {*by, *START_COLUMNS, "arm", *pairing_keys(runs)}
    within = [key for key in runs.columns if key not in other]
    groups = list(runs.groupby(group_labels(runs, within), sort=False))
    arms = sorted_labels(runs["arm"])
    baseline = "none" if "none" in arms else arms[0]

    messages: dict[str, None] = {}
    for pair in _arm_pairs(groups, by, baseline):
        for check in (*initial_weights(pair), *parameters(pair)):
            if check.warns:
                messages[check.message] = None
    return list(messages)


def _is_of_norm(key: str) -> bool:
    return key == "norm" or key.startswith("norm.")


def _arm_pairs(groups: Groups, by: Sequence[str], baseline: str) -> Iterator[ArmPair]:
    """Every arm of every group with the baseline, in groups that have a baseline."""
    for where, group in groups:
        reference = group[group["arm"] == baseline]
        if reference.empty:
            continue
        for arm in sorted_labels(group["arm"]):
            if arm != baseline:
                runs = group[group["arm"] == arm]
                yield ArmPair(_prefix(where), arm, baseline, runs, reference, by)


def _prefix(where: str) -> str:
    return f"At {where}, " if where else ""


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def settings(pair: ArmPair) -> Iterator[Check]:
    """All settings that are not compared: data, model, optimizer, batch size, ..."""
    found = differences(pair.runs, pair.reference, pair.by)
    if not found:
        compared = ", ".join(pair.by)
        message = f"All settings but {compared} (and what belongs to it) are alike."
        yield Check("settings", SAME, message)
    for key, (value, expected) in found.items():
        message = (
            f"{pair.prefix}{pair.arm} and {pair.baseline} also differ in {key} "
            f"({value} against {expected})."
        )
        yield Check("settings", DIFFERENT, message, warns=True)


def initial_weights(pair: ArmPair) -> Iterator[Check]:
    """The digest of the weights outside of the norm, in runs that share a seed."""
    if pair.compares(CHANGES_WEIGHTS):
        return
    name = "initial weights"
    digests = pair.matched("initial_weights")
    if digests.empty:
        message = (
            f"{pair.prefix}{pair.arm} and {pair.baseline} share no seed, or their runs "
            "did not record their initial weights."
        )
        yield Check(name, UNKNOWN, message)
        return

    num_different = int((digests["arm"] != digests["baseline"]).sum())
    if num_different:
        message = (
            f"{pair.prefix}{pair.arm} and {pair.baseline} start from other weights in "
            f"{num_different} of {len(digests)} pairs of runs."
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
    for column in PARAMETER_COLUMNS:
        if column not in pair.runs or pair.runs[column].isna().all():
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
    if excess:
        more = "more" if excess > 0 else "fewer"
        message += f": {abs(excess):,} {more} outside of the norm"
        message = pair.prefix + message
    result = SAME if (total, own) == (base_total, base_own) else DIFFERENT
    yield Check(name, result, f"{message}.", warns=bool(excess))


def _num_parameters(runs: pd.DataFrame) -> tuple[int, int]:
    """Number of parameters, and how many of them are the norm's own."""
    total, own = (runs[column].dropna().iloc[0] for column in PARAMETER_COLUMNS)
    return int(total), int(own)


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
    both = pd.concat([pair.runs["status"], pair.reference["status"]])
    if both.ne("finished").any():
        return  # a diverged run ends within an epoch

    ratios = num_steps / num_epochs
    num_different = int((ratios["arm"] != ratios["baseline"]).sum())
    if num_different:
        message = (
            f"{pair.prefix}{pair.arm} and {pair.baseline} take a different number of "
            f"steps per epoch in {num_different} of {len(ratios)} pairs."
        )
        yield Check("steps per epoch", DIFFERENT, message, warns=True)
    else:
        message = "Every epoch has as many optimizer steps in all arms."
        yield Check("steps per epoch", SAME, message)


def _is_positive(table: pd.DataFrame) -> bool:
    """Whether the table has rows and all its values are above 0."""
    return not table.empty and bool((table > 0).all().all())


def weight_decay(pair: ArmPair) -> Iterator[Check]:
    """Whether decay also shrinks the norm's scale and shift.

    An arm without norm has no such parameters.
    """
    both = pd.concat([pair.runs, pair.reference])
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


def synchronization(where: str, group: pd.DataFrame) -> Iterator[Check]:
    """Whether the arms of runs on several devices normalize the same samples.

    A norm that looks at the batch sees the whole batch if it is synchronized, and the
    share of its own process otherwise.

    Args:
        where: label of the group.
        group: its runs, with their arm in `arm`.
    """
    if "device.devices" not in group:
        return
    num_devices = pd.to_numeric(group["device.devices"], errors="coerce")
    if not (num_devices > 1).any():
        return

    synchronized = _synchronized(group)
    arms = group.loc[synchronized.index, "arm"]
    shares = ", ".join(sorted_labels(arms[~synchronized]))
    whole = ", ".join(sorted_labels(arms[synchronized]))
    if shares and whole:
        message = (
            f"{_prefix(where)}of several processes, {shares} normalizes the share of "
            f"each, {whole} the whole batch."
        )
        yield Check("synchronization", DIFFERENT, _capitalized(message), warns=True)
    elif shares or whole:
        samples = "the share of each" if shares else "the whole batch"
        message = (
            "Of several processes, every norm that looks at the batch normalizes "
            f"{samples}."
        )
        yield Check("synchronization", SAME, message)


def _synchronized(group: pd.DataFrame) -> pd.Series:
    """Whether the statistics of each run are over all processes.

    Runs whose norm does not look at the batch are left out. Older results do not record
    it, and their setting `norm.sync` stands in.
    """
    unknown = pd.Series(None, index=group.index, dtype=object)
    recorded = group.get("synchronized", unknown).astype(object)
    setting = group.get("norm.sync", unknown)
    return recorded.where(recorded.notna(), setting).dropna().astype(bool)


def cautions(groups: Groups) -> Iterator[Check]:
    """What the runs said before they trained, with the arms that said it.

    A caution of some arms only is a warning, since it may explain their difference.
    """
    found: dict[tuple[str, str, bool], list[str]] = {}
    for where, group in groups:
        num_arms = group["arm"].nunique()
        for text, arms in _arms_by_caution(group).items():
            shared = len(arms) == num_arms
            names = "all arms" if shared else ", ".join(sorted_labels(arms))
            found.setdefault((text, names, shared), []).append(where)

    for (text, names, shared), labels in found.items():
        message = f"{names}: {text}."
        if len(labels) < len(groups):
            message = _prefix("; ".join(labels)) + message
        if shared:
            yield Check("cautions", SAME, _capitalized(message))
        else:
            yield Check("cautions", DIFFERENT, message, warns=True)


def _arms_by_caution(group: pd.DataFrame) -> dict[str, set[str]]:
    """The arms with a run that has a caution, by caution."""
    found: dict[str, set[str]] = {}
    if "cautions" not in group:
        return found
    for arm, texts in zip(group["arm"], group["cautions"], strict=True):
        for text in texts:
            found.setdefault(text, set()).add(arm)
    return found


def _distinct(checks: list[Check]) -> list[Check]:
    """Every check once, grouped by name; of a name with warnings only the warnings."""
    by_name: dict[str, list[Check]] = {}
    for check in dict.fromkeys(checks):
        by_name.setdefault(check.name, []).append(check)
    found: list[Check] = []
    for named in by_name.values():
        warnings = [check for check in named if check.warns]
        found += warnings or named
    return found
