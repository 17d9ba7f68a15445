"""The summary of every arm."""

import math

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.summaries import FOLD, num_folds, summaries_of

NONE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.91, 0.92, 0.93, 0.94]
GAIN = [0.020, 0.018, 0.022, 0.019, 0.021, 0.020, 0.017, 0.023, 0.020, 0.020]
CUSTOM = [value + gain for value, gain in zip(NONE, GAIN, strict=True)]


def contrast(found, arm="custom"):
    return found.contrasts.set_index("arm").loc[arm]


def test_the_number_of_folds_is_that_of_the_settings_or_of_the_runs():
    runs = pd.DataFrame({"seed": [0, 0], FOLD: [0, 1]})
    unknown = runs.assign(**{"dataset.folds": math.nan})
    assert num_folds(runs) == num_folds(unknown) == 2
    assert num_folds(unknown.assign(**{"dataset.num_folds": 5})) == 5
    assert num_folds(runs.assign(**{"dataset.folds": 10})) == 10
    assert num_folds(runs.drop(columns=FOLD)) is None


def test_summary_of_an_arm(tmp_path):
    write_seeds(tmp_path, {"none": [0.90, 0.92, 0.94], "custom": [0.95, 0.96, 0.97]})
    row = compare(load_runs(tmp_path)).summaries.set_index("arm").loc["none"]
    assert (
        row["n"],
        row["mean"],
        row["median"],
        row["min"],
        row["max"],
    ) == pytest.approx((3, 0.92, 0.92, 0.90, 0.94))
    assert row["sd"] == pytest.approx(0.02)
    assert (row["low"], row["high"]) == pytest.approx(
        (0.92 - 0.0496828, 0.92 + 0.0496828), abs=1e-6
    )  # t = 4.302653


def summary_of(values, status="finished"):
    runs = pd.DataFrame({"test/accuracy": values, "seed": range(len(values))})
    runs = runs.assign(arm="none", where="", status=status, num_parameters=110)
    (row,) = summaries_of(runs, "test/accuracy", 0.95, "none")
    return row


def test_the_bootstrap_interval_of_twenty_runs_by_hand():
    # 6 and 14 are the ends of 95 % of the heads in twenty throws of a coin.
    row = summary_of([0.0, 1.0] * 10)
    assert (row["bca_low"], row["bca_high"]) == pytest.approx((6 / 20, 14 / 20))


def test_an_arm_of_diverged_runs_alone_has_no_values():
    row = summary_of([0.9, 0.8], "diverged")
    assert (row["runs"], row["n"], row["diverged"], row["trained"]) == (2, 0, 2, 0)
    for name in ("mean", "sd", "median", "min", "max", "low", "high"):
        assert math.isnan(row[name]), name


def test_diverged_and_failed_runs_are_counted_and_not_averaged(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:8], "custom": CUSTOM[:10]})
    for seed, status in ((8, "diverged"), (9, "diverged"), (10, "failed")):
        write_run(tmp_path, "none", seed, 0.1, status)
    found = compare(load_runs(tmp_path))
    row = found.summaries.set_index("arm").loc["none"]
    assert (row["runs"], row["n"], row["diverged"], row["failed"]) == (11, 8, 2, 1)
    assert row["mean"] == pytest.approx(np.mean(NONE[:8]))
    assert (row["trained"], row["trained_low"]) == pytest.approx(
        (0.8, 0.490162), abs=1e-6
    )
    told = contrast(found)["sentence"]
    assert "2 runs without a partner left out" in told
    assert (
        "0 of 10 runs of custom and 2 of 11 runs of none diverged (trained as often: "
        "Fisher's p = 0.474). 0 of 10 runs of custom and 1 of 11 runs of none failed."
        in told
    )


def test_equal_values_have_no_spread_whatever_their_mean_rounds_to(tmp_path):
    value = np.log10(18.0)
    write_seeds(tmp_path, {"none": [value] * 6})
    (sd,) = compare(load_runs(tmp_path)).summaries["sd"]
    assert sd == 0
