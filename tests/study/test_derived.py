"""Interactions and slopes, computed from the runs of a seed."""

import numpy as np
import pandas as pd
import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.study.definition import Study
from normlab.study.derived import derived_runs
from normlab.study.verdict import answer
from study.helpers import NOISE

METRIC = "test/accuracy"
PLAN = {"by": "norm", "metric": METRIC, "within": []}


def table(scores, key="batch"):
    """Runs from {(norm, value): scores by seed}."""
    rows = []
    for (norm, value), values in scores.items():
        for seed, score in enumerate(values):
            row = {"norm": norm, key: value, "seed": seed, METRIC: score}
            rows.append(row | {"status": "finished"})
    return pd.DataFrame(rows)


def by_arm(rows, column):
    return {arm: group[column].tolist() for arm, group in rows.groupby("arm")}


def test_an_interaction_compares_changes_of_the_same_seed():
    runs = table(
        {
            ("none", 2): [0.5, 0.6],
            ("none", 64): [0.7, 0.9],
            ("custom", 2): [0.1, 0.2],
            ("custom", 64): [0.8, 0.7],
        }
    )
    plan = PLAN | {"interaction": {"batch": [2, 64]}}
    rows, column, reason = derived_runs(plan, runs.iloc[::-1])
    assert column == "test/change of accuracy"
    assert reason == ""
    found = {arm: sorted(values) for arm, values in by_arm(rows, column).items()}
    assert found["none"] == pytest.approx([0.2, 0.3])
    assert found["custom"] == pytest.approx([0.5, 0.7])


def test_a_slope_is_that_of_the_line_of_least_squares():
    # y = 1 + 2 x at 1, 2 and 4 but for 0.3 in the middle, 0.333 below the mean
    runs = table({("none", 1): [3.0], ("none", 2): [5.3], ("none", 4): [9.0]})
    rows, column, _ = derived_runs(PLAN | {"slope": "batch"}, runs)
    assert column == "test/slope of accuracy"
    x = np.array([1.0, 2.0, 4.0])
    expected = np.polyfit(x, [3.0, 5.3, 9.0], 1)[0]
    assert rows[column].tolist() == pytest.approx([expected])
    assert expected == pytest.approx(2 - 0.3 * (1 / 3) / (14 / 3))


def test_a_slope_over_octaves():
    scores = {("none", 2**k): [0.5 + 0.1 * k, 0.5 - 0.1 * k] for k in range(4)}
    plan = PLAN | {"slope": "batch", "scale": "log2"}
    rows, column, _ = derived_runs(plan, table(scores))
    assert sorted(rows[column]) == pytest.approx([-0.1, 0.1])


def test_within_groups_and_the_best_value_of_another_setting():
    runs = pd.concat(
        [
            table({("none", 2): [0.5], ("none", 64): [0.6]}).assign(lr=0.1),
            table({("none", 2): [0.4], ("none", 64): [0.9]}).assign(lr=1.0),
        ]
    )
    plan = PLAN | {"interaction": {"batch": [2, 64]}}
    with pytest.raises(ValueError, match="there are several with arm=none seed=0"):
        derived_runs(plan, runs.reset_index())
    # 0.5 is the best at 2, and 0.9 at 64.
    rows, column, _ = derived_runs(plan | {"select": "lr"}, runs.reset_index())
    assert rows[column].tolist() == pytest.approx([0.4])
    rows, column, _ = derived_runs(plan | {"within": ["lr"]}, runs.reset_index())
    assert sorted(rows[column]) == pytest.approx([0.1, 0.5])


def test_lost_runs_leave_the_claim_open():
    runs = table({("none", 2): [0.5, 0.6], ("none", 64): [0.7, 0.9]})
    runs.loc[3, "status"] = "diverged"
    plan = PLAN | {"interaction": {"batch": [2, 64]}}
    rows, column, reason = derived_runs(plan, runs)
    assert rows[column].tolist() == pytest.approx([0.2])
    assert reason == "1 of 4 runs have no test/accuracy to compute it from"


@pytest.mark.parametrize(
    ("values", "claim", "message"),
    [
        ((2, 64), {"slope": "batch"}, "over at least 3 values of batch, there are 2"),
        (("a", "b", "c"), {"slope": "batch"}, "with numbers, batch has a"),
        ((0, 1, 2), {"slope": "batch", "scale": "log2"}, "values of batch above 0"),
    ],
)
def test_a_slope_needs_numbers(values, claim, message):
    runs = table({("none", value): [0.5] for value in values})
    with pytest.raises(ValueError, match=message):
        derived_runs(PLAN | claim, runs)


@pytest.mark.parametrize(
    ("gain", "expect", "verdict"),
    [
        (0.02, "higher", "supported"),
        (-0.02, "higher", "contradicted"),
        (0.0, "higher", "cannot tell"),
        (0.02, "lower", "contradicted"),
        (0.0, "equal", "supported"),
        (0.0, "not_worse", "supported"),
        (-0.02, "not_worse", "contradicted"),
    ],
)
def test_a_study_answers_a_claim_about_an_interaction(tmp_path, gain, expect, verdict):
    lrs = {lr: {"optimizer.lr": lr} for lr in (0.1, 1.0)}
    for seed in range(10):
        for lr in lrs:
            gains = {"torch": 0.01, "custom": 0.01 + gain}
            for norm, extra in gains.items():
                noise = NOISE[seed] if norm == "torch" else NOISE[-seed - 1]
                score = 0.9 + (extra + noise) * (lr == 1.0)
                write_run(tmp_path, norm, seed, score, settings=lrs[lr])
    claim = {"says": "It does.", "interaction": {"optimizer.lr": [0.1, 1]}}
    claim |= {"arms": ["custom"], "expect": expect}
    if expect in ("equal", "not_worse"):
        claim |= {"margin": 0.005}
    plan = PLAN | {"question": "?", "baseline": "torch", "minimum_seeds": 10}
    params = {"norm": "torch,custom", "optimizer.lr": "0.1,1", "seed": "range(10)"}
    study = Study("demo", plan | {"claims": [claim]}, "demo", params)
    _, claims, _ = answer(study, load_runs(tmp_path))
    assert claims[0].verdict == verdict
    assert claims[0].comparison.metric == "test/change of accuracy"
