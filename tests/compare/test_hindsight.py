"""Choices that may have been made by the compared numbers are told."""

import pandas as pd
import pytest

from compare.helpers import write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.hindsight import (
    left_out_warnings,
    monitor_warnings,
    stop_warnings,
)

VALUES = [0.90, 0.92, 0.94]


@pytest.mark.parametrize(
    ("task", "monitor", "own", "metric", "told"),
    [
        ("classification", None, None, "val/accuracy", True),
        ("classification", "val/loss", None, "val/accuracy", False),
        ("classification", "val/loss", None, "val/loss", True),
        ("regression", None, None, "val/loss", True),
        ("classification", None, None, "test/accuracy", False),
        ("classification", None, "mine.Task", "val/accuracy", False),
        ("classification", "val/f1", "mine.Task", "val/f1", True),
    ],
)
def test_the_metric_that_picked_the_epoch_is_told(task, monitor, own, metric, told):
    rows = [{"dataset.task": task, "trainer.monitor": monitor, "task._target_": own}]
    lines = monitor_warnings(pd.DataFrame(rows * 3), metric)
    assert len(lines) == told
    if told:
        assert lines[0].startswith(f"{metric} also chose the best epoch of 3 of 3 runs")


def test_a_comparison_by_the_monitored_metric_warns(tmp_path):
    write_seeds(tmp_path, {"none": VALUES, "custom": VALUES})
    runs = load_runs(tmp_path)
    line = "val/accuracy also chose the best epoch of 6 of 6 runs"
    by_validation = compare(runs, metric="val/accuracy")
    assert any(found.startswith(line) for found in by_validation.warnings)
    assert not any("chose the best" in found for found in compare(runs).warnings)


def test_runs_that_stopped_at_the_compared_part_are_told():
    stops = [None, "val/loss=0.1", "test/accuracy=0.98", "test/accuracy=0.98"]
    ends = ["max_epochs", "stop_at", "stop_at", "max_epochs"]
    runs = pd.DataFrame({"trainer.stop_at": stops, "ended_by": ends})
    (line,) = stop_warnings(runs, "test/loss")
    assert line.startswith("1 of 4 runs stopped as soon as a metric of test reached")
    assert not stop_warnings(runs, "train/loss")
    assert not stop_warnings(runs[:1], "test/loss")
    assert not stop_warnings(pd.DataFrame({"seed": [1]}), "test/loss")


def test_arms_that_were_not_named_are_counted(tmp_path):
    arms = dict.fromkeys(("none", "custom", "torch", "layer", "rms"), VALUES)
    write_seeds(tmp_path, arms)
    runs = load_runs(tmp_path)
    found = compare(runs, arms="custom")
    assert found.warnings[-1] == (
        "3 other arms exist and are not compared: layer, rms, torch. If the compared "
        "arms were chosen after a look at the results, false alarms are more frequent "
        "than the level says."
    )
    assert not any("other arms" in line for line in compare(runs).warnings)


def test_one_arm_that_was_not_named_is_told_in_the_singular():
    runs = pd.DataFrame({"arm": ["a0", "a1", "a2"]})
    (line,) = left_out_warnings(runs, ["a1"], "a0")
    assert line.startswith("1 other arm exists and is not compared: a2. If the")


def test_of_many_arms_six_are_named():
    runs = pd.DataFrame({"arm": [f"a{number}" for number in range(9)]})
    (line,) = left_out_warnings(runs, ["a1"], "a0")
    assert line.startswith("7 other arms exist and are not compared: a2, a3, a4")
    assert "a7, and 1 more." in line
