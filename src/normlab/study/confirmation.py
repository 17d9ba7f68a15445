"""The values that a claim chose, tested on seeds that had no part in the choice."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from normlab.compare.choices import Arm, choose_values
from normlab.compare.comparison import Comparison, compare
from normlab.compare.settings import arm_labels, setting_text
from normlab.config.seed_lists import seed_list
from normlab.study.comparing import as_planned
from normlab.study.plans import Settings, planned_seeds


def confirm_seeds(plan: Settings) -> tuple[str, ...]:
    """The seeds that only test chosen values, as text; empty if a plan has none.

    Args:
        plan: the `study:` block, or a claim with its keys.
    """
    seeds = plan.get("confirm_seeds")
    if seeds is None:
        return ()
    return tuple(map(setting_text, seed_list("confirm_seeds", seeds)))


def all_confirm_seeds(plan: Settings) -> tuple[str, ...]:
    """The seeds that only test chosen values, of any claim of a study.

    Args:
        plan: the `study:` block.
    """
    seeds: dict[str, None] = {}
    for claim in plan["claims"]:
        merged = plan | claim
        if merged.get("select"):
            seeds |= dict.fromkeys(confirm_seeds(merged))
    return tuple(seeds)


def check_confirm_seeds(
    source: str,
    plan: Settings,
    params: Settings,
) -> None:
    """Refuse seeds of the test that also choose.

    Args:
        source: what has the plan, for the message.
        plan: the `study:` block.
        params: the grid of the study, with its seeds.

    Raises:
        ValueError: names the seeds.
    """
    chooses = set(planned_seeds(params))
    both = [seed for seed in all_confirm_seeds(plan) if seed in chooses]
    if both:
        raise ValueError(
            f"{source}: confirm_seeds must be other seeds than those of the grid, "
            f"which choose; both have {', '.join(both)}"
        )


def with_confirm_seeds(
    plan: Settings,
    params: Settings,
) -> Settings:
    """The grid of a study with the seeds of the test among its seeds.

    Args:
        plan: the `study:` block.
        params: the grid of the study.
    """
    seeds = [*planned_seeds(params), *all_confirm_seeds(plan)]
    return params | {"seed": ",".join(seeds)}


def of_confirm_seeds(
    plan: Settings,
    runs: pd.DataFrame,
) -> pd.Series:
    """Which runs have a seed that only tests chosen values.

    Args:
        plan: the `study:` block.
        runs: from `load_runs`.
    """
    return runs["seed"].map(setting_text).isin(all_confirm_seeds(plan))


def compare_tested(
    chosen: Comparison,
    plan: Settings,
    tests: pd.DataFrame,
    command: str,
) -> tuple[Comparison, str]:
    """Compare what every arm chose on the seeds that had no part in the choice.

    Args:
        chosen: the comparison on the seeds of the choice.
        plan: the claim, with `select` and `confirm_seeds`.
        tests: runs with the seeds of the test, which may lack some.
        command: that runs the study.

    Returns:
        The comparison, and why it is no answer yet, in words; empty if it is one. It is
        the one on the seeds of the choice as long as runs of the test are missing.
    """
    assert chosen.choice is not None
    seeds = confirm_seeds(plan)
    runs = pd.concat([chosen.choice.grid, tests], ignore_index=True)
    runs = runs.assign(arm=arm_labels(runs, chosen.by))
    choice = choose_values(runs, replace(chosen.choice.selection, confirm=seeds))
    lacking = [arm for arm in choice.arms if arm.to_make and _is_claimed(arm, plan)]
    if lacking:
        return chosen, _to_make(lacking, plan["select"], command)
    tested = compare(
        runs,
        by=chosen.by,
        metric=chosen.metric,
        baseline=chosen.baseline,
        within=chosen.within,
        arms=plan.get("arms"),
        margin=plan.get("margin"),
        level=chosen.level,
        select=plan["select"],
        confirm=seeds,
        incomplete=True,
    )
    return as_planned(tested), ""


def _is_claimed(arm: Arm, plan: Settings) -> bool:
    """Whether a claim is about an arm, or compares with it."""
    named = plan.get("arms")
    if not named:
        return True
    return arm.arm in map(setting_text, [plan["baseline"], *named])


def _to_make(
    arms: Sequence[Arm],
    key: str,
    command: str,
) -> str:
    """Which runs test the chosen values, and the commands that make them."""
    count = sum(len(arm.to_make) for arm in arms)
    commands = []
    for arm in arms:
        seeds = "seed=" + ",".join(arm.to_make)
        words = [command, *map(shlex.quote, arm.overrides), seeds]
        commands.append(f"`{' '.join(words)}`")
    return (
        f"the values of {key} are chosen, and {count} runs that test them on other "
        f"seeds are still to be made: {'; '.join(commands)}"
    )
