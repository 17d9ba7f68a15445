"""The baseline against itself, with a known answer."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.study.control import control_of
from normlab.study.definition import Study
from normlab.study.verdict import answer
from study.helpers import plan

# In tenths of a thousandth: the even seeds add up to 0, the odd ones to 6.
TENTHS = [3, 3, -5, -3, 1, 4, 6, 6, -2, -1, -3, -3]
NOISE = 0.0001 * np.array(TENTHS)
PLAN = plan(expect="higher") | {"level": 0.05, "control": True}
PARAMS = {"norm": "torch,custom", "seed": "range(12)"}


def runs_with_drift(tmp_path, drift, seeds=12):
    """Runs whose baseline is better by `drift` in every second seed."""
    for seed in range(seeds):
        noise = NOISE[seed]
        write_run(tmp_path, "torch", seed, 0.95 + noise + drift * (seed % 2))
        write_run(tmp_path, "custom", seed, 0.97 - noise)
    return load_runs(tmp_path)


def claim_of(runs, **changed):
    found = answer(Study("demo", PLAN | changed, "demo", PARAMS), runs)
    return found[1][0], found[2]


def test_a_quiet_control_is_reported_with_its_numbers(tmp_path):
    claim, warnings = claim_of(runs_with_drift(tmp_path, 0.0))
    text = claim.control.text
    assert text.startswith(
        "The control compares torch with itself, seeds 0,2,4,6,8,10 (half 1) "
        "and 1,3,5,7,9,11 (half 2)."
    )
    assert "No difference in test/accuracy between torch (half 2) and torch" in text
    assert "equal: +0.00010 (95 % interval" in text
    assert claim.control.alarm == ""
    assert not any("control" in line for line in warnings)


def test_a_difference_of_the_baseline_to_itself_questions_the_verdicts(tmp_path):
    claim, warnings = claim_of(runs_with_drift(tmp_path, 0.01))
    assert claim.verdict == "supported"
    assert claim.control.alarm in warnings
    assert claim.control.alarm.startswith(
        "The control shows a difference of torch to itself, which puts every verdict "
        "on these runs in question: torch (half 2) does better than torch (half 1)"
    )
    assert "Chance alone does this in 5 % of all controls" in claim.control.alarm


def test_a_study_without_the_switch_has_no_control(tmp_path):
    assert claim_of(runs_with_drift(tmp_path, 0.0), control=False)[0].control is None


def test_a_control_waits_for_the_planned_seeds(tmp_path):
    claim, _ = claim_of(runs_with_drift(tmp_path, 0.0, seeds=8))
    assert (claim.verdict, claim.control) == ("cannot tell", None)


def test_a_control_uses_the_margin_of_its_claim(tmp_path):
    runs = runs_with_drift(tmp_path, 0.0)
    control = control_of(PLAN | {"margin": 0.02, "expect": "equal"}, runs)
    assert "0.02" in control.text
    assert control.alarm == ""


def test_a_control_chooses_values_as_its_claim_does(tmp_path):
    for seed in range(12):
        for rate, loss in ((0.1, 0.0), (1.0, 0.3)):
            value = 0.9 - loss + NOISE[seed]
            settings = {"optimizer.lr": rate}
            write_run(tmp_path, "torch", seed, value, settings=settings)
    runs = load_runs(tmp_path)
    control = control_of(PLAN | {"select": "optimizer.lr"}, runs)
    assert "equal: +0.0001" in control.text
    assert "0.1 for torch (half 1) (2 values tried)" in control.text


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [(11, "it needs 12 seeds, and there are 11"), (0, "there are 0")],
)
def test_too_few_seeds_make_no_control(tmp_path, seeds, reason):
    write_run(tmp_path, "custom", 0, 0.9)
    for seed in range(seeds):
        write_run(tmp_path, "torch", seed, 0.9)
    control = control_of(PLAN, load_runs(tmp_path))
    assert "with itself, and cannot be made: it needs 12 seeds" in control.text
    assert reason in control.text


def test_runs_of_several_folds_make_no_control(tmp_path):
    for seed in range(12):
        for fold in range(2):
            settings = {"dataset.load.fold": fold}
            write_run(tmp_path, "torch", seed, 0.9, settings=settings)
    control = control_of(PLAN, load_runs(tmp_path))
    assert "its runs differ in dataset.load.fold too" in control.text
