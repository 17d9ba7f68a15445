"""The plan of a study: the block `study:` of a configuration, and all around it.

The block is checked before its runs train, and once more when they are compared. Every
run stores the whole plan, so that a plan that was changed afterwards is noticed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from normlab.config.claim_metrics import check_metric
from normlab.config.claim_rules import EXPECTATIONS, VALUE_RULES
from normlab.config.seed_lists import seed_list
from normlab.config.types import (
    is_mapping,
    is_number,
    is_number_in_text,
    list_of,
    rule_of,
)
from normlab.spelling import did_you_mean

REQUIRED = ("question", "by", "metric", "baseline", "claims", "minimum_seeds")
PLAN_KEYS = (
    *REQUIRED,
    *("within", "level", "looks", "margin", "confirm_seeds", "control"),
)
# A claim may replace any key of the plan.
CLAIM_KEYS = (
    *PLAN_KEYS,
    "says",
    "expect",
    "arms",
    "select",
    "largest_stable",
    "tolerance",
    "interaction",
    "slope",
    "scale",
    "value",
    "ratio_to_target",
    "at",
)
NEED_MARGIN = ("equal", "not_worse")
# Types of the keys of a claim, also of those that its plan states for it.
TYPES = {
    "by": "text or list of texts",
    "within": "list of texts",
    "arms": "null or list",
    "minimum_seeds": "whole number of at least 1",
    "level": "number between 0 and 1",
    "tolerance": "number of at least 0",
}
# What is compared in place of the metric itself.
QUANTITIES = ("largest_stable", "interaction", "slope", "ratio_to_target")
SCALES = ("linear", "log2")
# Whose value a run has to reach, if that is no number, and what counts the time.
TARGETS = ("final", "best")
CLOCKS = ("steps", "epochs", "seconds")
# Groups of which a run stores the settings, and not the names of its options.
WITHOUT_NAMES = ("logger", "callbacks")


def check_plan(source: str, plan: Any) -> None:
    """Refuse a plan that no verdict can follow from.

    Args:
        source: what has the plan, such as the name of a file, for the message.
        plan: the content of the block.

    Raises:
        ValueError: a key is missing or unknown, or a claim is not complete.
    """
    if not isinstance(plan, dict):
        raise ValueError(f"{source} must have a study: block of keys, got {plan!r}")
    missing = [key for key in REQUIRED if not plan.get(key)]
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"{source} must state {names} in its study: block")
    claims = plan["claims"]
    are_claims = list_of(is_mapping)
    if not are_claims(claims):
        raise ValueError(
            f"{source}: claims must be a list of claims, each with its keys"
        )
    _check_names(source, plan, PLAN_KEYS)
    check_metric(source, plan["metric"])
    _check_looks(source, plan.get("looks"))
    _check_confirm_seeds(source, plan)
    control = plan.get("control", False)
    if not isinstance(control, bool):
        raise ValueError(f"{source}: control must be true or false, got {control!r}")
    for claim in claims:
        _check_names(source, claim, CLAIM_KEYS)
        _check_types(source, plan | claim)
        _check_claim(source, plan, claim)


def check_grid(source: str, params: Mapping[str, Any]) -> None:
    """Refuse to vary a group if it cannot be told later which of its options a run has.

    Args:
        source: what has the plan, such as the name of a file, for the message.
        params: the grid, `hydra.sweeper.params`.

    Raises:
        ValueError: names the group.
    """
    for key in params:
        group = key.lstrip("+")
        if group in WITHOUT_NAMES:
            raise ValueError(
                f"{source}: the grid must not vary {group}, since runs do not store "
                f"the names of its options; vary a setting, as in {group}.NAME.KEY"
            )


def _check_types(source: str, claim: dict[str, Any]) -> None:
    """Refuse values of a type that no comparison can use.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    for key, phrase in TYPES.items():
        rule = rule_of(phrase)
        if key in claim and not rule.holds(claim[key]):
            raise ValueError(
                f"{source}: {key} must be {rule.requirement}, got {claim[key]!r}"
            )


def _check_looks(source: str, looks: Any) -> None:
    if looks is None:
        return
    are_counts = isinstance(looks, list) and all(type(look) is int for look in looks)
    if not are_counts or not looks or looks != sorted({*looks}) or looks[0] < 1:
        raise ValueError(
            f"{source}: looks must be increasing numbers of seeds after which the "
            f"study may answer, such as [10, 20]; got {looks}"
        )


def _check_confirm_seeds(source: str, plan: dict[str, Any]) -> None:
    """Refuse seeds of a test for which no claim chooses a value."""
    merged = [plan | claim for claim in plan["claims"]]
    chosen = [claim.get("confirm_seeds") for claim in merged if claim.get("select")]
    given = [plan.get("confirm_seeds")]
    given += [claim.get("confirm_seeds") for claim in plan["claims"]]
    for seeds in given:
        if seeds is None:
            continue
        seed_list(f"{source}: confirm_seeds", seeds)
        if seeds not in chosen:
            raise ValueError(
                f"{source}: confirm_seeds must come with a claim that has select, "
                f"whose chosen values they test; got {seeds}"
            )


def _check_claim(source: str, plan: dict[str, Any], claim: dict[str, Any]) -> None:
    if claim.get("expect") not in EXPECTATIONS or "says" not in claim:
        known = ", ".join(EXPECTATIONS)
        raise ValueError(
            f"{source}: every claim must have says and expect ({known}), got {claim}"
        )
    if claim.get("arms") == []:
        raise ValueError(
            f"{source}: arms must name an arm, or be left out for all of them; got []"
        )
    margin = claim.get("margin", plan.get("margin"))
    if claim["expect"] in NEED_MARGIN and not margin:
        raise ValueError(
            f"{source}: a claim that expects {claim['expect']} must state its margin; "
            f"got none"
        )
    _check_quantity(source, plan, claim)
    _check_value(source, plan | claim)
    _check_margin(source, plan | claim)
    _check_ratio(source, plan | claim)
    _check_at(source, plan | claim)
    _check_measured(source, plan | claim)


def _check_value(source: str, claim: dict[str, Any]) -> None:
    """Refuse a number that nothing can be compared with.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    value = claim.get("value")
    if value is None:
        return
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{source}: value must be a number, got {value}")
    if claim["expect"] not in VALUE_RULES:
        known = ", ".join(VALUE_RULES)
        raise ValueError(
            f"{source}: a claim about a value must expect one of {known}, got "
            f"{claim['expect']}"
        )
    excluded = ("largest_stable", "ratio_to_target", "confirm_seeds")
    others = [key for key in excluded if claim.get(key)]
    if others:
        raise ValueError(f"{source}: value and {others[0]} exclude each other")
    metric = claim["metric"]
    if is_mapping(metric) and metric.get("ratio"):
        _check_value_of_ratio(source, claim)


def _check_margin(source: str, claim: dict[str, Any]) -> None:
    """Refuse a margin that is no number; only a claim about a value may have 0.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    margin = claim.get("margin")
    if margin is None:
        return
    text = str(margin).removesuffix("%")
    size = float(text) if is_number_in_text(text) else math.nan
    is_zero = size == 0 and claim.get("value") is not None
    if not 0 < size < math.inf and not is_zero:
        raise ValueError(
            f"{source}: margin must be a number above 0 or a share such as 3%, got "
            f"{margin!r}"
        )


def _check_value_of_ratio(source: str, claim: dict[str, Any]) -> None:
    """Refuse a number that has no logarithm, or would be compared with another one."""
    if claim["value"] <= 0:
        raise ValueError(
            f"{source}: with ratio: true, the value must be above 0, got "
            f"{claim['value']}"
        )
    for key in ("interaction", "slope"):
        if claim.get(key):
            raise ValueError(
                f"{source}: value, {key} and ratio: true exclude each other"
            )


def _check_measured(source: str, claim: dict[str, Any]) -> None:
    """Refuse a metric that runs do not store together with what needs a stored one.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    metric = claim["metric"]
    check_metric(source, metric)
    if not is_mapping(metric):
        return
    if claim.get("largest_stable"):
        raise ValueError(
            f"{source}: largest_stable must judge by a metric of result.json, such as "
            f"test/accuracy; got {metric}"
        )
    if claim.get("select") and claim.get("confirm_seeds"):
        raise ValueError(
            f"{source}: confirm_seeds must test a metric of result.json, such as "
            f"test/accuracy; got {metric}"
        )
    if metric.get("ratio"):
        _check_margin_is_ratio(source, claim, "ratio: true", "large")


def _check_ratio(source: str, claim: dict[str, Any]) -> None:
    """Refuse a ratio of times to a target that does not exist.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    asked = claim.get("ratio_to_target")
    if asked is None:
        return
    form = "{metric: val/loss, target: final}"
    if not is_mapping(asked) or not {"metric", "target"} <= asked.keys():
        raise ValueError(
            f"{source}: ratio_to_target must hold a metric and a target, such as "
            f"{form}; got {asked}"
        )
    _check_names(source, asked, ("metric", "target", "clock"))
    check_metric(source, {"curve": asked["metric"]})
    if asked["target"] not in TARGETS and not is_number(asked["target"]):
        raise ValueError(
            f"{source}: target must be a number, or {' or '.join(TARGETS)} for the "
            f"value of the baseline at the same seed; got {asked['target']}"
        )
    if asked.get("clock", "steps") not in CLOCKS:
        raise ValueError(
            f"{source}: clock must be one of {', '.join(CLOCKS)}, got {asked['clock']}"
        )
    _check_margin_is_ratio(source, claim, "ratio_to_target", "fast")


def _check_at(source: str, claim: dict[str, Any]) -> None:
    """Refuse a value relative to that of another arm if it cannot be found.

    Args:
        source: what has the plan, for the message.
        claim: with the keys of the plan.
    """
    at = claim.get("at")
    if at is None:
        return
    if not is_mapping(at) or not {"largest_stable", "of"} <= at.keys():
        raise ValueError(
            f"{source}: at must hold a setting and an arm, such as "
            f"{{largest_stable: optimizer.lr, of: none, times: 0.1}}; got {at}"
        )
    _check_names(source, at, ("largest_stable", "of", "times"))
    times = at.get("times", 1)
    if not is_number(times) or not 0 < times < math.inf:
        raise ValueError(f"{source}: times must be a number above 0, got {times}")
    for key in ("select", "largest_stable"):
        if claim.get(key):
            raise ValueError(f"{source}: at and {key} exclude each other")


def _check_margin_is_ratio(
    source: str, claim: dict[str, Any], key: str, quality: str
) -> None:
    """Refuse a margin of a claim about ratios, named by `key`, that is no ratio."""
    margin = claim.get("margin")
    if margin is None or (is_number(margin) and margin > 1):
        return
    raise ValueError(
        f"{source}: with {key}, the margin must be a ratio above 1, such as 2 for "
        f"twice as {quality}; got {margin}"
    )


def _check_quantity(source: str, plan: dict[str, Any], claim: dict[str, Any]) -> None:
    """Refuse a claim about several quantities, or about one that is not complete."""
    given = [key for key in QUANTITIES if claim.get(key)]
    if len(given) > 1:
        raise ValueError(f"{source}: {' and '.join(given)} exclude each other")
    interaction = claim.get("interaction")
    if interaction is not None and not _is_pair_of_values(interaction):
        raise ValueError(
            f"{source}: interaction must be a setting with two values, such as "
            f"{{optimizer: [adamw, muon]}}; got {interaction}"
        )
    scale = claim.get("scale")
    if scale is not None and (scale not in SCALES or not claim.get("slope")):
        raise ValueError(
            f"{source}: scale must be one of {', '.join(SCALES)} and come with slope; "
            f"got {scale}"
        )
    confirms = claim.get("confirm_seeds", plan.get("confirm_seeds"))
    if confirms and claim.get("select") and given:
        raise ValueError(
            f"{source}: confirm_seeds must test the metric itself; leave {given[0]} out"
        )


def _is_pair_of_values(interaction: Any) -> bool:
    if not is_mapping(interaction) or len(interaction) != 1:
        return False
    values = next(iter(interaction.values()))
    return isinstance(values, list) and len(values) == 2


def _check_names(source: str, block: dict[str, Any], known: Sequence[str]) -> None:
    for key in block:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ValueError(f"{source} has an unknown key {key!r}{hint}")


def check_study(config: dict[str, Any]) -> None:
    """Refuse a configuration with a plan that could not be answered later.

    Args:
        config: the resolved configuration of a run that is to train.

    Raises:
        ValueError: says what is wrong with the plan.
    """
    name = config["choices"].get("study")
    planned = dict(config.get("study") or {})
    if name is None and planned:
        keys = ", ".join(f"study.{key}" for key in planned)
        raise ValueError(f"{keys} must come with a study: add study=NAME")
    if name is None:
        return
    planned.pop("try", None)  # no part of the plan: it asks for a trial
    check_plan(f"study={name}", planned)
