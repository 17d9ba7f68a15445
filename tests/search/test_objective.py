import math

import pytest

from normlab.search.objective import outcome


def result(status="finished", value=0.5, reason=None, seconds=2.0):
    metrics = (
        {"val/accuracy": value, "test/accuracy": 0.99} if status == "finished" else {}
    )
    return {"status": status, "metrics": metrics, "reason": reason, "seconds": seconds}


def test_the_objective_is_the_mean_over_seeds():
    found = outcome({0: result(value=0.25), 1: result(value=0.75)}, "val/accuracy", 0.0)
    assert (found.status, found.value, found.reason) == ("finished", 0.5, None)
    assert (found.values, found.seconds) == ([0.25, 0.75], 4.0)


def test_a_diverged_run_counts_as_the_worst_and_is_named():
    found = outcome(
        {0: result(value=0.75), 1: result("diverged", reason="loss")},
        "val/accuracy",
        0.0,
    )
    assert (found.value, found.reason) == (0.375, "1 of 2 runs diverged")
    assert (
        outcome(
            {0: result(value=1.0), 1: result("diverged")}, "val/loss", math.inf
        ).value
        == math.inf
    )


def test_a_score_of_validation_may_be_the_objective():
    scored = result() | {"scores": {"val": {"auroc": 0.75, "per_class": {}}}}
    assert outcome({0: scored}, "val/auroc", 0.0).value == 0.75


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_metric_that_is_not_finite_counts_as_the_worst(value):
    assert outcome({0: result(value=value)}, "val/accuracy", 0.0).value == 0.0


def test_one_failed_run_fails_the_trial_with_its_reason():
    found = outcome(
        {0: result(), 3: result("failed", reason="no memory"), 4: result()},
        "val/accuracy",
        0.0,
    )
    assert (found.status, found.value, found.reason, found.lost) == (
        "failed",
        None,
        "seed 3: no memory",
        True,
    )
    stored = result("failed", reason="no memory") | {"run": "group/name"}
    assert not outcome({0: stored}, "val/accuracy", 0.0).lost


def test_a_pruned_run_prunes_the_trial():
    found = outcome(
        {0: result("pruned", reason="pruned after epoch 2", seconds=1.5)},
        "val/accuracy",
        0.0,
    )
    assert (found.status, found.value, found.reason, found.seconds) == (
        "pruned",
        None,
        "pruned after epoch 2",
        1.5,
    )
