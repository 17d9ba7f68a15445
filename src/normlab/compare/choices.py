"""Every arm at its best value of a setting: the choice, and the runs that test it.

The choice rests on the validation metric and on a complete grid. It is tested on other
seeds if there are some: a choice among many values that is tested on the same seeds
favours the arm with more values, see docs/results/calibration.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from normlab.compare.selection import (
    best_values,
    edge_warnings,
    is_at_best,
    place_name,
    runs_at_place,
    validation_metric,
)
from normlab.compare.sentences import counted
from normlab.compare.settings import (
    group_labels,
    pairing_keys,
    setting_text,
    sorted_labels,
)
from normlab.compare.summaries import finished_runs

MAX_MISSING_NAMED = 3


@dataclass(frozen=True)
class Selection:
    """How every arm chooses its best value of a setting.

    Attributes:
        key: the setting.
        within: the settings that make a group.
        by: the settings that make an arm.
        metric: what is compared.
        confirm: seeds, as text, that only test the chosen values; empty if the seeds of
            the choice test them.
        incomplete: whether an arm may choose from a grid that lacks runs.
    """

    key: str
    within: list[str]
    by: list[str]
    metric: str
    confirm: tuple[str, ...] = ()
    incomplete: bool = False

    @property
    def places(self) -> list[str]:
        """The columns that name one choice."""
        return [*self.within, "arm"]


@dataclass(frozen=True)
class Arm:
    """What one arm chose in one group.

    Attributes:
        name: arm and group, such as `custom, dataset=mnist`.
        arm: the arm.
        where: label of the group.
        value: the chosen value, as text.
        settings: the settings of arm and group and the chosen one, as text by key.
        tried: the values that were tried, as text.
        missing: the runs that its grid lacks, such as `optimizer.lr=0.1 seed=3`.
        size: number of runs that its grid should have.
        to_make: seeds of the test without a run at the chosen value, as text.
        finished: whether any run of its grid finished.
    """

    name: str
    arm: str
    where: str
    value: str
    settings: dict[str, str]
    tried: list[str]
    missing: list[str]
    size: int
    to_make: list[str]
    finished: bool = True

    @property
    def overrides(self) -> list[str]:
        """The settings as on a command line: `norm=custom`, `optimizer.lr=0.1`."""
        return [f"{key}={value}" for key, value in self.settings.items()]


@dataclass(frozen=True)
class Choice:
    """What all arms chose.

    Attributes:
        selection: how.
        metric: by which the values were judged.
        grid: the runs that the choice rests on, with their arm in `arm`.
        runs: those that test it.
        arms: one for every arm and group.
        left_out: number of runs with the seeds of the test that have other values.
    """

    selection: Selection
    metric: str
    grid: pd.DataFrame
    runs: pd.DataFrame
    arms: list[Arm]
    left_out: int = 0


def choose_values(runs: pd.DataFrame, selection: Selection) -> Choice:
    """Let every arm choose its best value of a setting on validation.

    Args:
        runs: with their arm in `arm`.
        selection: how.

    Raises:
        ValueError: a grid lacks runs, or there is no run to choose from.
    """
    key = selection.key
    within = selection.within
    metric = validation_metric(runs, selection.metric)
    seeds = runs["seed"].map(setting_text)
    tests = seeds.isin(selection.confirm)
    grid = runs[~tests | _need_no_choice(runs, tests, selection)]
    if grid.empty or tests.all():
        raise ValueError(
            "confirm must leave seeds that choose the values; all runs have one of "
            f"{', '.join(selection.confirm)}"
        )
    best = best_values(grid, key, within, metric)
    chosen = grid[is_at_best(grid, key, within, best)]
    compared = chosen
    left_out = 0
    if selection.confirm:
        of_test = runs[tests]
        compared = of_test[is_at_best(of_test, key, within, best)]
        left_out = len(of_test) - len(compared)
    arms = _arms_of(selection, metric, grid, chosen, compared)
    if not selection.incomplete:
        _refuse_incomplete(arms, key)
    return Choice(selection, metric, grid, compared, arms, left_out)


def _need_no_choice(
    runs: pd.DataFrame,
    tests: pd.Series,
    selection: Selection,
) -> pd.Series:
    """Which runs are of an arm without the setting, and with seeds for the test only.

    Raises:
        ValueError: an arm that has the setting has such seeds only.
    """
    key = selection.key
    arms = [runs[place] for place in selection.places]
    only_tests = tests.groupby(arms, dropna=False).transform("all")
    cannot_choose = runs[only_tests & runs[key].notna()]
    if not (cannot_choose.empty or tests.all() or selection.incomplete):
        groups = cannot_choose.groupby(selection.places, dropna=False)
        names = sorted(place_name(place, selection.within) for place, _ in groups)
        raise ValueError(
            f"confirm must leave seeds on which every arm chooses {key}; all runs of "
            f"{'; '.join(names)} have one of {', '.join(selection.confirm)}"
        )
    return only_tests & runs[key].isna()


def _arms_of(
    selection: Selection,
    metric: str,
    grid: pd.DataFrame,
    chosen: pd.DataFrame,
    tested: pd.DataFrame,
) -> list[Arm]:
    """The choice of every arm in every group, by name; see `_arm_of`."""
    arms = []
    places = selection.places
    for place, part in grid.groupby(places, dropna=False, sort=False):
        chosen_there = runs_at_place(chosen, places, place)
        tested_there = runs_at_place(tested, places, place)
        arm = _arm_of(selection, metric, part, chosen_there, tested_there)
        arms.append(arm)
    return sorted(arms, key=lambda arm: arm.name)


def _arm_of(
    selection: Selection,
    metric: str,
    grid: pd.DataFrame,
    chosen: pd.DataFrame,
    tested: pd.DataFrame,
) -> Arm:
    """The choice of one arm in one group.

    Args:
        selection: how the choice was made.
        metric: by which.
        grid: its runs at all values.
        chosen: those at the chosen value.
        tested: its runs that test the choice.
    """
    key = selection.key
    first = chosen.iloc[0]
    settings = {}
    for name in [*selection.by, *selection.within, key]:
        value = first[name]
        if pd.notna(value):
            settings[name] = setting_text(value)
    place = tuple(first[selection.places])
    missing, size = _missing_runs(grid, key, metric)
    return Arm(
        name=place_name(place, selection.within),
        arm=str(first["arm"]),
        where=group_labels(chosen, selection.within).iloc[0],
        value=setting_text(first[key]),
        settings=settings,
        tried=sorted_labels(grid[key].map(setting_text)),
        missing=missing,
        size=size,
        to_make=_seeds_to_make(selection, chosen, tested),
        finished=not finished_runs(grid, metric).empty,
    )


def _missing_runs(runs: pd.DataFrame, key: str, metric: str) -> tuple[list[str], int]:
    """The runs that one arm's grid lacks, and how many it should have.

    Every value of the setting should have a run with every seed (and fold) that any of
    them has. A run that failed, or has no value of the metric, is missing.
    """
    repeats = pairing_keys(runs)
    names = [key, *repeats]
    table = runs[names].map(setting_text)
    status = runs["status"]
    has_result = runs[metric].notna() & (status != "failed")
    has_result |= status == "diverged"
    values = table[[key]].drop_duplicates()
    repetitions = table[repeats].drop_duplicates()
    wanted = values.merge(repetitions, how="cross")
    present = table[has_result].drop_duplicates()
    found = wanted.merge(present, how="left", indicator=True)
    is_missing = found["_merge"] == "left_only"
    missing = []
    for row in found.loc[is_missing, names].to_dict("records"):
        parts = [f"{name}={value}" for name, value in row.items()]
        missing.append(" ".join(parts))
    return sorted_labels(missing), len(wanted)


def _seeds_to_make(
    selection: Selection, chosen: pd.DataFrame, tested: pd.DataFrame
) -> list[str]:
    """The seeds of the test that lack a run at the chosen value."""
    per_seed = chosen.groupby("seed").size().max()  # more than one with folds
    ended = tested[tested["status"] != "failed"]
    counts = ended["seed"].map(setting_text).value_counts()
    lacking = []
    for seed in selection.confirm:
        if counts.get(seed, 0) < per_seed:
            lacking.append(seed)
    return lacking


def _refuse_incomplete(arms: Sequence[Arm], key: str) -> None:
    lacking = [arm for arm in arms if arm.missing and not _lacks_setting(arm, key)]
    if not lacking:
        return
    first, *others = lacking
    reason = _lacks(first)
    if others:
        names = ", ".join(arm.name for arm in others)
        reason += f" and {names} lack some too"
    raise ValueError(
        f"select must have a complete grid from which to choose {key}, but "
        f"{reason}: train these runs (retry=failed for those that "
        "failed), or choose without them by `incomplete`"
    )


def _lacks(arm: Arm) -> str:
    """`custom lacks 1 of 12 runs (optimizer.lr=0.3 seed=2)`."""
    named = ", ".join(arm.missing[:MAX_MISSING_NAMED])
    count = len(arm.missing)
    if count > MAX_MISSING_NAMED:
        named += ", …"
    return f"{arm.name} lacks {count} of {arm.size} runs ({named})"


def refuse_untested(choice: Choice) -> None:
    """Refuse a choice without any run that tests it.

    Raises:
        ValueError: names the runs to train.
    """
    if not choice.runs.empty:
        return
    shown = "; ".join(" ".join(arm.overrides) for arm in choice.arms)
    seeds = ",".join(choice.selection.confirm)
    raise ValueError(
        f"confirm must name seeds with runs at the chosen values, and seed={seeds} has "
        f"none: train {shown}, each with seed={seeds}"
    )


def choice_lines(choice: Choice) -> list[str]:
    """What each arm chose and from how many values, and what is missing, in lines.

    Args:
        choice: of all arms.
    """
    selection = choice.selection
    key = selection.key
    num_tests = len(selection.confirm)
    lines = []
    if choice.metric == selection.metric and not num_tests:
        lines.append(
            f"There is no validation metric, so the best {key} was chosen by "
            f"{choice.metric}, which is also compared: an arm for which more values "
            "were tried has an advantage."
        )
    for arm in choice.arms:
        lines.append(_choice_line(arm, key, choice.metric))
        num_missing = len(arm.to_make)
        if 0 < num_missing < num_tests:
            seeds = ",".join(arm.to_make)
            words = " ".join([*arm.overrides, f"seed={seeds}"])
            lines.append(
                f"{arm.name}: {num_missing} of {num_tests} runs that "
                f"test the chosen value are missing: {words}."
            )
    if choice.left_out:
        lines.append(
            f"{choice.left_out} runs with the seeds of the test have other values of "
            f"{key} than the chosen ones and are left out."
        )
    within = [*selection.within, key]
    return lines + edge_warnings(choice.grid, [], within, choice.metric)


def _choice_line(arm: Arm, key: str, metric: str) -> str:
    if _lacks_setting(arm, key):
        return f"{arm.name} has no {key} and is compared as it is."
    count = len(arm.tried)
    if count == 1:
        return f"{arm.name}: {key}={arm.value} is the only value that was tried."
    if not arm.finished:
        return (
            f"{arm.name}: no run finished at any of the {count} values of {key}, so "
            f"none is the best; {arm.value} is used."
        )
    text = (
        f"{arm.name}: {key}={arm.value} has the best mean {metric} of the {count} "
        "values that were tried and is used"
    )
    if not arm.missing:
        return f"{text}."
    return f"{text}, but runs are missing: {_lacks(arm)}."


def _lacks_setting(arm: Arm, key: str) -> bool:
    """Whether no run of an arm has the setting of which a value is chosen."""
    return key not in arm.settings and len(arm.tried) == 1


def choice_notes(choice: Choice, contrasts: pd.DataFrame) -> pd.DataFrame:
    """Contrasts whose sentences name the choice of both arms and its budget.

    Args:
        choice: of all arms.
        contrasts: the table of a comparison, which may have no rows.
    """
    if contrasts.empty:
        return contrasts
    found = arms_by_place(choice)
    sentences = []
    for row in contrasts.to_dict("records"):
        where = row["where"]
        arm = found[where, row["arm"]]
        baseline = found[where, row["baseline"]]
        note = _note(choice, [arm, baseline])
        sentences.append(f"{row['sentence']} {note}")
    return contrasts.assign(sentence=sentences)


def arms_by_place(choice: Choice) -> dict[tuple[str, str], Arm]:
    """What each arm chose, by the label of its group and its name.

    Args:
        choice: of all arms.
    """
    return {(arm.where, arm.arm): arm for arm in choice.arms}


def _note(choice: Choice, pair: Sequence[Arm]) -> str:
    key = choice.selection.key
    parts = []
    for arm in pair:
        if _lacks_setting(arm, key):
            parts.append(f"no value for {arm.arm}")
            continue
        tried = counted(len(arm.tried), "value")
        parts.append(f"{arm.value} for {arm.arm} ({tried} tried)")
    values = ", ".join(parts)
    text = f"Best {key} by {choice.metric}: {values}"
    lacking = [_lacks(arm) for arm in pair if arm.missing]
    if lacking:
        text += f"; the grid is incomplete, {' and '.join(lacking)}"
    if choice.selection.confirm:
        return f"{text}; these seeds had no part in the choice."
    return f"{text}; chosen and tested on the same seeds."
