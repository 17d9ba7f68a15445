"""Claims about the mean of a metric against a number."""

import numpy as np
import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import load_runs
from normlab.config.claim_rules import VALUE_RULES, rule_of
from normlab.report.assembly import Extras, report_of
from normlab.study.comparing import compare_claim
from normlab.study.control import control_of
from normlab.study.definition import Study
from normlab.study.values import judge_value
from normlab.study.verdict import answer
from study.helpers import NOISE, plan

# Ten runs with mean 0 and SD 1: the 90 % interval reaches to ±0.580, that of 95 % to
# ±0.715 (t with 9 degrees of freedom: 1.833 and 2.262, over the root of 10).
UNIT = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)


def claim(**others):
    block = plan(expect="equal", value=0.5, margin=0.01)
    return block | block["claims"][0] | others


def judged(tmp_path, values, **others):
    write_seeds(tmp_path, values)
    asked = claim(**others)
    comparison, reason = compare_claim(asked, load_runs(tmp_path))
    assert reason == ""
    assert comparison.contrasts.empty
    return judge_value(asked, comparison)


@pytest.mark.parametrize(
    ("expect", "mean", "margin", "verdict"),
    [
        # With SD 0.01, half the 90 % interval is 0.0058, and half that of 95 % 0.00715.
        ("equal", 0.5, 0.0057, "cannot tell"),
        ("equal", 0.5, 0.0059, "supported"),
        ("equal", 0.504, 0.01, "supported"),
        ("equal", 0.505, 0.01, "cannot tell"),
        ("equal", 0.5170, 0.01, "cannot tell"),
        ("equal", 0.5173, 0.01, "contradicted"),
        ("equal", 0.4827, 0.01, "contradicted"),
        ("higher", 0.5073, None, "supported"),
        ("higher", 0.5070, None, "cannot tell"),
        ("higher", 0.4930, None, "cannot tell"),
        ("higher", 0.4927, None, "contradicted"),
        ("higher", 0.5173, 0.01, "supported"),
        ("higher", 0.5020, 0.01, "contradicted"),
        ("lower", 0.4827, 0.01, "supported"),
        ("lower", 0.4980, 0.01, "contradicted"),
    ],
)
def test_an_interval_lies_inside_or_outside(tmp_path, expect, mean, margin, verdict):
    values = {"custom": mean + 0.01 * UNIT, "torch": 0.9 + UNIT / 10}
    found, _ = judged(tmp_path, values, expect=expect, margin=margin)
    assert found == verdict


def test_the_reason_has_mean_interval_and_limits(tmp_path):
    _, reason = judged(tmp_path, {"custom": 0.5 + 0.01 * UNIT}, margin="2%")
    assert reason == (
        "custom has a mean test/accuracy of 0.5000 (90 % interval 0.4942 to 0.5058, 10 "
        "runs), inside 0.5000 ± 0.0100."
    )


@pytest.mark.parametrize(
    ("expect", "value", "margin", "verdict", "end"),
    [
        # The geometric mean is 0.5, half the 95 % interval of the logarithm is 0.00715.
        ("higher", 0.49, None, "supported", "4918 to 0.5083, 10 runs), above 0.4900."),
        ("higher", 0.25, 2, "cannot tell", "10 runs), on both sides of 0.5000."),
        ("higher", 0.51, None, "contradicted", "10 runs), below 0.5100."),
        ("lower", 1.1, 2, "supported", "10 runs), below 0.5500."),
        ("equal", 0.5, 1.1, "supported", "10 runs), inside 0.4545 to 0.5500."),
    ],
)
def test_a_ratio_is_judged_by_its_logarithm(
    tmp_path, expect, value, margin, verdict, end
):
    for seed, noise in enumerate(UNIT):
        loss = 0.5 * 10 ** (0.01 * noise)
        write_run(tmp_path, "custom", seed, curve=[1.1 - loss])  # of accuracy
    metric = {"curve": "val/loss", "ratio": True}
    asked = claim(expect=expect, value=value, margin=margin, metric=metric)
    comparison, _ = compare_claim(asked, load_runs(tmp_path))
    found, reason = judge_value(asked, comparison)
    assert (found, reason[-len(end) :]) == (verdict, end)
    assert reason.startswith("custom has a geometric mean last val/loss of 0.5000 (9")
    name, words = rule_of(asked)
    assert name == f"{expect} (value of a ratio)"
    assert words.startswith(VALUE_RULES[expect])


def test_all_arms_must_pass_and_one_contradicts_at_a_level_for_all(tmp_path):
    values = {"custom": 0.5 + 0.01 * UNIT, "ghost": 0.5 + 0.01 * UNIT[::-1]}
    arms = ["custom", "ghost"]
    verdict, reason = judged(tmp_path, values, arms=arms)
    assert verdict == "supported"
    assert reason.count("inside") == 2
    # Alone, 0.5173 contradicts; of two arms an interval of 97.5 % reaches 0.0085.
    values["ghost"] = 0.5173 + 0.01 * UNIT
    assert judged(tmp_path / "b", values, arms=arms)[0] == "cannot tell"
    values["ghost"] = 0.5190 + 0.01 * UNIT
    verdict, reason = judged(tmp_path / "c", values, arms=arms)
    assert verdict == "contradicted"
    assert reason.startswith(
        "ghost has a mean test/accuracy of 0.5190 (97.5 % interval"
    )


def test_skewed_runs_lost_runs_and_few_runs_leave_the_claim_open(tmp_path):
    skewed = 0.5 + 0.001 * np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 9])
    verdict, reason = judged(tmp_path / "a", {"custom": skewed})
    assert verdict == "cannot tell"
    # m3 / m2^1.5 of nine zeros and a one: 0.072 / 0.027 = 2.7
    assert reason.endswith("skewed (skewness +2.7), so the interval may be wrong.")

    few = {"custom": 0.5 + 0.001 * UNIT[:8]}
    verdict, reason = judged(tmp_path / "b", few, minimum_seeds=6)
    assert (verdict, reason.rpartition("), ")[2]) == (
        "cannot tell",
        "inside 0.5000 ± 0.0100. 8 runs miss rare runs too easily; at least 10 are "
        "needed.",
    )
    found = judged(tmp_path / "c", few, minimum_seeds=10)
    assert found == ("cannot tell", "custom has 8 of 10 seeds")
    found = judged(tmp_path / "c", few, arms=["custom", "ghost"])
    assert found == ("cannot tell", "there are no runs of ghost")

    write_run(tmp_path / "d", "custom", 20, 0.5, "diverged")
    verdict, reason = judged(tmp_path / "d", {"custom": 0.5 + 0.001 * UNIT})
    assert verdict == "cannot tell"
    assert reason == "1 of 11 runs of custom have no value, and its mean is not known"


@pytest.mark.parametrize("gain", [0.0, 0.02])
def test_a_study_answers_a_claim_about_a_value(tmp_path, gain):
    values = {"torch": 0.9 + 0.01 * UNIT, "custom": 0.5 + gain + 0.01 * UNIT}
    write_seeds(tmp_path, values)
    block = plan(expect="equal", value=0.5, margin=0.01)
    study = Study("demo", block, "demo", {"norm": "torch,custom", "seed": "range(10)"})
    runs = load_runs(tmp_path)
    _, claims, _ = answer(study, runs)
    assert claims[0].verdict == ("contradicted" if gain else "supported")
    assert claims[0].rule == VALUE_RULES["equal"]
    assert claims[0].comparison.arms == ["custom"]
    assert claims[0].comparison.warnings == []
    assert study.whole_plan["rules"] == {"equal (value)": VALUE_RULES["equal"]}
    assert report_of(claims[0].comparison, Extras()).sections[0].tables


def test_the_mean_of_a_slope_and_of_the_best_value(tmp_path):
    """Per factor of ten, the accuracy of custom rises by 0.01, and is best at 1."""
    for seed, noise in enumerate(UNIT):
        for power in range(3):
            score = 0.5 + 0.01 * power + 0.001 * noise * power
            settings = {"optimizer.lr": 10.0**-power, "model.width": 2**power}
            write_run(tmp_path, "custom", seed, score, settings=settings)
    runs = load_runs(tmp_path)
    asked = claim(slope="model.width", scale="log2", value=0.01, margin=0.002)
    comparison, _ = compare_claim(asked, runs)
    assert judge_value(asked, comparison)[0] == "supported"
    assert comparison.runs["test/slope of accuracy"].mean() == pytest.approx(0.01)
    asked = claim(select="optimizer.lr", value=0.52, margin=0.002, within=[])
    comparison, _ = compare_claim(asked, runs)
    assert judge_value(asked, comparison)[0] == "supported"
    assert set(comparison.runs["optimizer.lr"]) == {0.01}


def test_the_control_of_a_value_compares_halves(tmp_path):
    values = 0.5 + 0.001 * np.concatenate([UNIT, UNIT[::-1]])
    write_seeds(tmp_path, {"torch": values})
    control = control_of(claim(), load_runs(tmp_path))
    assert "torch (half 1)" in control.text
    assert control.alarm == ""
