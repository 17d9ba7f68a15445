"""A question with its verdict rule, written down before any run: `conf/study/<name>.yaml`.

Its `study:` block holds `question`, `by`, `metric`, `baseline`, `within`, `minimum_seeds`, `level` and `claims`. A
claim may replace any of them and adds `says` (a sentence), `expect` (`equal`, `higher` or `lower`), `arms`, `margin`,
`select` (every arm at its best value of this setting) or `largest_stable` with `tolerance` (the largest value of this
setting whose validation metric is within the tolerance of the best, by seed).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from normlab.compare.comparison import Candidates, Comparison, compare
from normlab.compare.runs import LARGEST_STABLE_RATE
from normlab.compare.selection import (
    largest_stable,
    stable_edge_warnings,
    validation_metric,
)
from normlab.compare.sentences import number, p_value
from normlab.compare.settings import arm_labels, check_keys, setting_text, study_of
from normlab.config.identity import configuration_directory
from normlab.spelling import did_you_mean
from normlab.study import plans

VERDICTS = ("supported", "contradicted", "cannot tell")
REQUIRED = ("question", "by", "metric", "baseline", "claims", "minimum_seeds")
OF_A_CLAIM = (
    "says",
    "expect",
    "arms",
    "margin",
    "select",
    "largest_stable",
    "tolerance",
)
OPTIONAL = ("within", "level", "margin", "target")
RULES = {
    "equal": "supported if two one-sided tests put every difference inside the margin; contradicted if the interval "
    "of any difference lies outside of it",
    "higher": "supported if every difference is above zero at the level, after Holm's correction; contradicted if any "
    "is below zero at the level, or equivalent to zero within the margin",
    "lower": "supported if every difference is below zero at the level, after Holm's correction; contradicted if any "
    "is above zero at the level, or equivalent to zero within the margin",
}


@dataclass(frozen=True)
class Claim:
    """One claim of a study with its answer.

    Attributes:
        says: the claim in words.
        rule: when it is supported or contradicted.
        verdict: supported, contradicted or cannot tell.
        reason: what the verdict rests on.
        comparison: the numbers.
    """

    says: str
    rule: str
    verdict: str
    reason: str
    comparison: Comparison


@dataclass(frozen=True)
class Study:
    """A study as it stands in its file.

    Attributes:
        name: of the file.
        plan: the `study:` block.
        group: the folder of its runs below `outputs`.
        params: the grid, as Hydra's sweeper gets it.
    """

    name: str
    plan: dict[str, Any]
    group: str
    params: dict[str, Any]

    @property
    def outputs(self) -> Path:
        """Folder of the runs that `python train.py -m study=NAME` makes."""
        return Path("outputs") / self.group


def read_study(name: str) -> Study:
    """The study of that name.

    Raises:
        ValueError: no such study, or a block that is not complete.
    """
    folder = configuration_directory() / "study"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        hint = did_you_mean(name, known) or f"; known are {', '.join(known) or 'none'}"
        raise ValueError(f"there is no study {name!r} in conf/study{hint}")
    content = yaml.safe_load((folder / f"{name}.yaml").read_text())
    plan = content.get("study") or {}
    _check(name, plan)
    params = (content.get("hydra") or {}).get("sweeper", {}).get("params") or {}
    return Study(name, plan, str(content.get("group", name)), params)


def _check(name: str, plan: dict[str, Any]) -> None:
    where = f"conf/study/{name}.yaml"
    if missing := [key for key in REQUIRED if not plan.get(key)]:
        raise ValueError(f"{where} must state {', '.join(missing)} in its study: block")
    for claim in ({}, *plan["claims"]):
        known = (*REQUIRED, *OPTIONAL, *(OF_A_CLAIM if claim else ()))
        for key in claim or plan:
            if key not in known:
                hint = did_you_mean(key, known)
                raise ValueError(f"{where} has an unknown key {key!r}{hint}")
        if claim and (claim.get("expect") not in RULES or "says" not in claim):
            raise ValueError(
                f"{where}: every claim must have says and expect ({', '.join(RULES)}), got {claim}"
            )
        if claim.get("expect") == "equal" and not (plan | claim).get("margin"):
            raise ValueError(
                f"{where}: a claim that expects equal must state its margin; got none"
            )


def answer(
    study: Study, runs: pd.DataFrame, settings: list[dict[str, Any]] | None = None
) -> tuple[str, list[Claim], list[str]]:
    """The verdict over all claims, every claim with its answer, and warnings about the study as a whole.

    All claims supported is supported, any contradicted is contradicted, anything else cannot be told. Only runs of the
    planned grid answer: seeds, arms or data sets that came later could have been added until the answer pleased.

    Args:
        study: the plan.
        runs: from `load_runs`.
        settings: from `plans.planned_settings`; runs that were made otherwise cannot answer. None checks nothing.

    Raises:
        ValueError: too few runs for any number; names what is missing and the command that makes it.
    """
    outside, told = plans.unplanned_runs(study.params, runs)
    warnings = _unplanned(study, runs[outside], told, len(runs))
    runs = runs[~outside]
    missing = plans.missing_runs_with_command(study.name, study.params, runs)
    if runs.empty:
        raise ValueError("\n".join([*warnings, *missing]))
    deviating = plans.deviations(settings, study.params, runs) if settings else ""
    try:
        claims = [
            _answer(study, study.plan | claim, runs, deviating)
            for claim in study.plan["claims"]
        ]
    except ValueError as error:
        raise ValueError("\n".join([str(error), *missing])) from error
    verdicts = {claim.verdict for claim in claims}
    whole = (
        "contradicted"
        if "contradicted" in verdicts
        else verdicts.pop()
        if len(verdicts) == 1
        else "cannot tell"
    )
    return whole, claims, [*warnings, *missing, *_changed(study, runs)]


def _answer(
    study: Study, plan: dict[str, Any], runs: pd.DataFrame, deviating: str
) -> Claim:
    comparison = _compare(plan, runs)
    verdict, reason = judge(
        comparison, plan["expect"], plan["minimum_seeds"], plan.get("arms")
    )
    if incomplete := _incomplete(study, plan, runs):
        verdict, reason = "cannot tell", incomplete
    if deviating:
        verdict, reason = (
            "cannot tell",
            f"the runs were not made as planned: {deviating}",
        )
    return Claim(plan["says"], RULES[plan["expect"]], verdict, reason, comparison)


def _incomplete(study: Study, plan: dict[str, Any], runs: pd.DataFrame) -> str:
    """Why the grid of a claim's arms is not full enough to choose or compare values of it, or nothing."""
    if not plan.get("arms") or not isinstance(plan["by"], str):
        return ""
    arms = [setting_text(arm) for arm in [plan["baseline"], *plan["arms"]]]
    where, count = plans.fewest_seeds(study.params, runs, plan["by"], arms)
    if count >= plan["minimum_seeds"]:
        return ""
    return f"{where} has {count} of {plan['minimum_seeds']} seeds"


def _compare(plan: dict[str, Any], runs: pd.DataFrame) -> Comparison:
    options = {
        key: plan[key]
        for key in ("by", "metric", "baseline", "within", "arms", "margin", "level")
        if key in plan
    }
    key = plan.get("largest_stable")
    if key is None:
        return compare(runs, **options, select=plan.get("select"))
    by, within = options["by"], list(options.get("within", []))
    check_keys(runs, [key, *within])
    named = runs.assign(arm=arm_labels(runs, [by] if isinstance(by, str) else by))
    # What trains is judged on validation: a value chosen by its test score would be chosen on the answer.
    judged_by = validation_metric(named, plan["metric"])
    table = largest_stable(named, key, within, judged_by, plan.get("tolerance", 0.01))
    comparison = compare(
        table, **options | {"metric": LARGEST_STABLE_RATE, "within": within}
    )
    comparison.warnings.extend(stable_edge_warnings(named, table, key))
    return replace(comparison, candidates=Candidates(named, key, judged_by))


def judge(
    comparison: Comparison, expect: str, minimum_seeds: int, arms: list | None = None
) -> tuple[str, str]:
    """Apply the rule of `RULES` to a comparison: the verdict and what it rests on."""
    rows = comparison.contrasts.to_dict("records")
    absent = [
        setting_text(arm)
        for arm in arms or []
        if setting_text(arm) not in {row["arm"] for row in rows}
    ]
    if not rows or absent:
        return (
            "cannot tell",
            f"there are no runs of {', '.join(absent) or 'more than one arm'} beside the baseline",
        )
    for row in rows:
        if (n := min(row["n"], row["n_baseline"])) < minimum_seeds:
            at = f" at {row['where']}" if row["where"] else ""
            return (
                "cannot tell",
                f"{row['arm']} against {row['baseline']}{at} has {n} of {minimum_seeds} seeds",
            )
    if expect == "equal":
        return _judge_equal(rows, comparison.margin, comparison.level)
    return _judge_direction(rows, 1 if expect == "higher" else -1, comparison.level)


def _judge_equal(rows: list[dict], margin: float, level: float) -> tuple[str, str]:
    outside = [row for row in rows if row["low"] > margin or row["high"] < -margin]
    if outside:
        return "contradicted", outside[0]["sentence"]
    # Each must pass by itself for the claim to stand, so that no correction is needed (intersection-union test).
    open_rows = [row for row in rows if not row["equivalence_p"] < level]
    if open_rows:
        return "cannot tell", open_rows[0]["sentence"]
    if all(row["verdict"] == "equivalent" for row in rows):
        return "supported", _all_of(rows)
    largest = p_value(max(row["equivalence_p"] for row in rows))
    return (
        "supported",
        f"every difference is inside ±{number(margin)} by two one-sided tests, the largest {largest}.",
    )


def _judge_direction(rows: list[dict], sign: int, level: float) -> tuple[str, str]:
    shown = [row["p_holm"] < level and row["difference"] * sign > 0 for row in rows]
    against = [
        row
        for row, as_claimed in zip(rows, shown, strict=True)
        if not as_claimed
        and (row["p_holm"] < level or row["equivalence_p_holm"] < level)
    ]
    if against:
        return "contradicted", against[0]["sentence"]
    open_rows = [
        row for row, as_claimed in zip(rows, shown, strict=True) if not as_claimed
    ]
    return (
        ("cannot tell", open_rows[0]["sentence"])
        if open_rows
        else ("supported", _all_of(rows))
    )


def _all_of(rows: list[dict]) -> str:
    first = rows[0]["sentence"]
    return (
        first
        if len(rows) == 1
        else f"All {len(rows)} contrasts agree; the first: {first}"
    )


def _unplanned(study: Study, runs: pd.DataFrame, what: str, count: int) -> list[str]:
    """How many runs lie outside of the grid, and whether the study itself once had them in it."""
    if runs.empty:
        return []
    told = f"{len(runs)} of {count} runs lie outside of the planned grid and are left out of the verdict: {what}."
    started = int((runs["study"] == study.name).sum()) if "study" in runs else 0
    if started:
        told += (
            f" {started} of them were started by the study itself: if its grid was changed afterwards, and not only "
            "overridden on the command line, its verdict is exploratory."
        )
    return [told]


def _changed(study: Study, runs: pd.DataFrame) -> list[str]:
    """A plan that was changed after any of the runs is no plan."""
    stored = study_of(runs)
    stored = stored[(stored != "–").any(axis=1)]
    if stored.empty:
        return ["The runs do not carry the study's plan: they were not started by it."]
    told = []
    if lacking := len(runs) - len(stored):
        told = [
            f"{lacking} of {len(runs)} runs do not carry the study's plan: they were not started by it."
        ]
    changed = []
    for key in sorted({*study.plan, *stored}):
        now = setting_text(study.plan.get(key))
        if count := int(
            (stored.get(key, pd.Series("–", index=stored.index)) != now).sum()
        ):
            changed.append(
                key
                if count == len(stored)
                else f"{key} in {count} of {len(stored)} runs"
            )
    if changed:
        told.append(
            f"The study was changed after its runs were started ({', '.join(changed)}): its verdict is exploratory."
        )
    return told
