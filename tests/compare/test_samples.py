"""Which values are compared, and which runs are the worst."""

import math

import pandas as pd

from compare.helpers import write_run
from normlab.compare import load_runs
from normlab.compare.samples import finished_sample, outcome_samples


def arms(tmp_path, statuses: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of custom with these statuses, and runs of none that all finished."""
    for seed, status in enumerate(statuses):
        write_run(tmp_path, "custom", seed, 0.9 + 0.01 * seed, status)
        write_run(tmp_path, "none", seed, 0.8)
    runs = load_runs(tmp_path)
    return runs[runs["norm"] == "custom"], runs[runs["norm"] == "none"]


def test_without_lost_runs_there_is_only_the_finished_sample(tmp_path):
    both = arms(tmp_path, ["finished"] * 3)
    assert outcome_samples(*both, "test/accuracy", None) == []
    assert finished_sample(*both, "test/accuracy", None).size == 3


def test_diverged_runs_are_worse_than_any_other(tmp_path):
    both = arms(tmp_path, ["finished", "diverged", "finished"])
    (found,) = outcome_samples(*both, "test/accuracy", None)
    assert sorted(found.arm) == [-math.inf, 0.9, 0.92]
    assert found.paired
    assert finished_sample(*both, "test/accuracy", None).left_out == 1


def test_failed_runs_are_the_worst_once_and_left_out_once(tmp_path):
    both = arms(tmp_path, ["finished", "diverged", "failed", "finished"])
    with_failed, without = outcome_samples(*both, "test/accuracy", None)
    assert sorted(with_failed.arm) == [-math.inf, -math.inf, 0.9, 0.93]
    assert sorted(without.arm) == [-math.inf, 0.9, 0.93]


def test_a_lost_run_has_the_largest_loss(tmp_path):
    for seed in range(3):
        metrics = {"test/loss": 0.1 * seed}
        status = "diverged" if seed == 1 else "finished"
        write_run(tmp_path, "custom", seed, 0.9, status, metrics=metrics)
        write_run(tmp_path, "none", seed, 0.9, metrics=metrics)
    runs = load_runs(tmp_path)
    both = runs[runs["norm"] == "custom"], runs[runs["norm"] == "none"]
    (found,) = outcome_samples(*both, "test/loss", None)
    assert sorted(found.arm) == [0.0, 0.2, math.inf]
