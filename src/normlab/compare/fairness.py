"""Do the arms of a comparison differ in nothing but what is compared? Read from what every run stored."""

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
CHANGES_WEIGHTS = (
    "model",
    "dataset",
    "reparametrize",
)  # arms of these are different networks, and are meant to be


@dataclass(frozen=True)
class Check:
    """One condition of a fair comparison.

    Attributes:
        name: what should be alike.
        result: the same, different, or not recorded.
        message: one sentence, with the numbers.
        warns: whether a reader must know before believing the comparison.
    """

    name: str
    result: str
    message: str
    warns: bool = False


def fairness_checks(
    groups: Sequence[tuple[str, pd.DataFrame]], by: Sequence[str], baseline: str
) -> list[Check]:
    """All checks of every arm against the baseline, group by group, those that pass told once.

    Args:
        groups: name of a group and its runs, with their arm in `arm`.
        by: the settings that are compared.
        baseline: the arm that the others are compared to.
    """
    checks = [
        check
        for pair in _pairs(groups, by, baseline)
        for examine in CHECKS
        for check in examine(pair)
    ]
    checks += [
        check for where, group in groups for check in synchronization(where, group)
    ]
    return _once(checks) + list(cautions(groups))


def start_warnings(
    settings: Sequence[dict[str, str]], results: Sequence[dict]
) -> list[str]:
    """Where the arms of a sweep over norms do not start from the same network outside of the norm.

    Args:
        settings: of every job, by key, those that vary between the jobs.
        results: of every job; those without a network are left out.
    """
    columns = ("initial_weights", "num_parameters", "num_norm_parameters")
    rows = [
        {"seed": ""} | told | {name: result[name] for name in columns}
        for told, result in zip(settings, results, strict=True)
        if all(result.get(name) is not None for name in columns)
    ]
    runs = pd.DataFrame(rows)
    by = sorted(key for key in runs.columns if key == "norm" or key.startswith("norm."))
    if not by:
        return []
    runs = runs.assign(arm=arm_labels(runs, by))
    within = [
        key
        for key in runs.columns
        if key not in (*by, *columns, "arm", *pairing_keys(runs))
    ]
    groups = list(runs.groupby(group_labels(runs, within), sort=False))
    arms = sorted_labels(list(runs["arm"]))
    pairs = _pairs(groups, by, "none" if "none" in arms else arms[0])
    checks = [
        check
        for pair in pairs
        for examine in (initial_weights, parameters)
        for check in examine(pair)
    ]
    return list(dict.fromkeys(check.message for check in checks if check.warns))


@dataclass(frozen=True)
class Pair:
    """An arm and the baseline in one group of like runs."""

    at: str
    arm: str
    baseline: str
    runs: pd.DataFrame
    reference: pd.DataFrame
    by: Sequence[str]

    def told(self, text: str) -> str:
        """The text with the group before it."""
        return f"{self.at}{text}"

    def matched(self, column: str) -> pd.DataFrame:
        """Values of a column in runs that share seed and fold: `arm` and `baseline`, those that have both."""
        both = pd.concat([self.runs, self.reference])
        if column not in both:
            return pd.DataFrame(columns=["arm", "baseline"])
        keys = pairing_keys(both)
        pairs = self.runs[[*keys, column]].merge(
            self.reference[[*keys, column]], on=keys, suffixes=("", " ")
        )
        return pairs.set_axis([*keys, "arm", "baseline"], axis=1)[
            ["arm", "baseline"]
        ].dropna()


def _pairs(
    groups: Sequence[tuple[str, pd.DataFrame]], by: Sequence[str], baseline: str
) -> Iterator[Pair]:
    """Every arm of every group beside the baseline, where there is one."""
    for where, group in groups:
        reference = group[group["arm"] == baseline]
        for arm in sorted_labels(list(group["arm"])):
            if arm != baseline and len(reference):
                yield Pair(
                    _at(where), arm, baseline, group[group["arm"] == arm], reference, by
                )


def _at(where: str) -> str:
    return f"At {where}, " if where else ""


def settings(pair: Pair) -> Iterator[Check]:
    """Everything else in the configuration: data, model, optimizer, batch size, precision, epochs."""
    found = differences(pair.runs, pair.reference, pair.by)
    if not found:
        yield Check(
            "settings",
            SAME,
            f"All settings but {', '.join(pair.by)} (and what belongs to it) are alike.",
        )
    for key, (here, there) in found.items():
        told = pair.told(
            f"{pair.arm} and {pair.baseline} also differ in {key} ({here} against {there})."
        )
        yield Check("settings", DIFFERENT, told, warns=True)


def initial_weights(pair: Pair) -> Iterator[Check]:
    """The digest of the weights outside of the norm, in runs that share a seed."""
    if any(key.partition(".")[0] in CHANGES_WEIGHTS for key in pair.by):
        return
    digests = pair.matched("initial_weights")
    if digests.empty:
        told = f"{pair.arm} and {pair.baseline} share no seed, or their runs did not record their first weights."
        yield Check("initial weights", UNKNOWN, pair.told(told))
        return
    other = int((digests["arm"] != digests["baseline"]).sum())
    if other:
        told = f"{pair.arm} and {pair.baseline} start from other weights in {other} of {len(digests)} pairs of runs."
        yield Check("initial weights", DIFFERENT, pair.told(told), warns=True)
    else:
        yield Check(
            "initial weights",
            SAME,
            "Runs that share a seed start from the same weights outside of the norm.",
        )


def parameters(pair: Pair) -> Iterator[Check]:
    """Number of parameters, the norm's own apart."""
    if any(key.partition(".")[0] in CHANGES_WEIGHTS for key in pair.by):
        return
    columns = ("num_parameters", "num_norm_parameters")
    if not all(name in pair.runs and pair.runs[name].notna().any() for name in columns):
        yield Check(
            "parameters",
            UNKNOWN,
            "The runs did not record how many parameters are the norm's own.",
        )
        return
    here, there = (
        [int(part[name].dropna().iloc[0]) for name in columns]
        for part in (pair.runs, pair.reference)
    )
    told = f"{pair.arm} has {here[0]:,} parameters, {here[1]:,} of them the norm's; {pair.baseline} {there[0]:,}"
    told += f", {there[1]:,} of them the norm's."
    rest = (here[0] - here[1]) - (there[0] - there[1])
    if rest:
        told = f"{told[:-1]}: {abs(rest):,} {'more' if rest > 0 else 'fewer'} outside of the norm."
    yield Check(
        "parameters",
        DIFFERENT if here != there else SAME,
        pair.told(told) if rest else told,
        warns=bool(rest),
    )


def steps(pair: Pair) -> Iterator[Check]:
    """Optimizer steps an epoch: a last batch that one arm leaves out and another does not would show here."""
    if any(key.partition(".")[0] == "dataset" for key in pair.by):
        return
    ratios = [pair.matched(name) for name in ("steps", "epochs")]
    if any(table.empty for table in ratios) or not all(
        (table > 0).all().all() for table in ratios
    ):
        return
    if (
        pair.runs["status"].ne("finished").any()
        or pair.reference["status"].ne("finished").any()
    ):
        return  # a diverged run ends within an epoch
    each = ratios[0] / ratios[1]
    other = int((each["arm"] != each["baseline"]).sum())
    if other:
        told = f"{pair.arm} and {pair.baseline} take another number of steps an epoch in {other} of {len(each)} pairs."
        yield Check("steps an epoch", DIFFERENT, pair.told(told), warns=True)
    else:
        yield Check(
            "steps an epoch",
            SAME,
            "Every epoch has as many optimizer steps in all arms.",
        )


def synchronization(where: str, group: pd.DataFrame) -> Iterator[Check]:
    """Over several processes, statistics of one arm over all of them and of the other over each one's share.

    A norm without the setting norm.sync that looks at the batch sees a share; results of older runs have the setting
    alone to go by.
    """
    devices = group.get("device.devices")
    if devices is None or not (pd.to_numeric(devices, errors="coerce") > 1).any():
        return
    unknown = pd.Series(None, index=group.index, dtype=object)
    synced = group.get("synchronized", unknown).astype(object)
    synced = (
        synced.where(synced.notna(), group.get("norm.sync", unknown))
        .dropna()
        .astype(bool)
    )
    arms = {
        what: ", ".join(
            sorted_labels(list(group.loc[synced.index[synced == value], "arm"]))
        )
        for value, what in ((False, "the share of each"), (True, "the whole batch"))
    }
    found = [what for what, names in arms.items() if names]
    if len(found) == 1:
        told = f"Of several processes, every norm that looks at the batch normalizes {found[0]}."
        yield Check("synchronization", SAME, told)
    elif found:
        shares, whole = arms.values()
        told = f"{_at(where)}of several processes, {shares} normalizes the share of each, {whole} the whole batch."
        yield Check(
            "synchronization", DIFFERENT, told[0].upper() + told[1:], warns=True
        )


def cautions(groups: Sequence[tuple[str, pd.DataFrame]]) -> Iterator[Check]:
    """What the runs said before they trained, with the arms that said it; a warning where others did not."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for where, group in groups:
        told = group.get("cautions", pd.Series([()] * len(group), index=group.index))
        for text in dict.fromkeys(text for of_run in told for text in of_run):
            arms = sorted_labels(
                list(
                    group.loc[told.map(lambda of_run, text=text: text in of_run), "arm"]
                )
            )
            shared = len(arms) == group["arm"].nunique()
            found.setdefault(
                (text, "all arms" if shared else ", ".join(arms), shared), []
            ).append(where)
    for (text, arms, shared), wheres in found.items():
        at = _at("; ".join(wheres)) if len(wheres) < len(groups) else ""
        told = f"{at}{arms}: {text}."
        told = told if not shared else told[0].upper() + told[1:]
        yield Check("cautions", SAME if shared else DIFFERENT, told, warns=not shared)


def weight_decay(pair: Pair) -> Iterator[Check]:
    """Whether decay also shrinks the norm's scale and shift, which an arm without norm does not have."""
    both = pd.concat([pair.runs, pair.reference])
    decay, every = (
        both.get("optimizer.weight_decay"),
        both.get("optimizer.decay_rank_one"),
    )
    if (
        decay is None
        or every is None
        or not (pd.to_numeric(decay, errors="coerce") > 0).any()
    ):
        return
    if (every.map(setting_text) == "true").any() and is_compared("norm.eps", pair.by):
        told = "Weight decay also shrinks scale and shift of the norm (optimizer.decay_rank_one=true), in arms with one."
        yield Check("weight decay", DIFFERENT, told, warns=True)
    else:
        yield Check(
            "weight decay",
            SAME,
            "Weight decay leaves scale and shift of the norms alone.",
        )


CHECKS: tuple[Callable[[Pair], Iterator[Check]], ...] = (
    settings,
    initial_weights,
    parameters,
    steps,
    weight_decay,
)


def _once(checks: list[Check]) -> list[Check]:
    """Every sentence once, check by check; of a check that warns, only the warnings."""
    distinct = list(dict.fromkeys(checks))
    found = []
    for name in dict.fromkeys(check.name for check in distinct):
        of_name = [check for check in distinct if check.name == name]
        found += [check for check in of_name if check.warns] or of_name
    return found
