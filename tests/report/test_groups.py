"""Which runs figures show, and the notes about those that they leave out."""

import pytest

from normlab.report.groups import (
    first_groups,
    first_of_note,
    groups_note,
    is_learning_rate,
    runs_at_best_rate,
)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("optimizer.lr", True), ("lr", True), ("optimizer.momentum", False)],
)
def test_a_learning_rate_is_known_by_its_name(key, expected):
    assert is_learning_rate(key) == expected


def test_every_arm_keeps_its_best_rate(grid):
    runs, note = runs_at_best_rate(grid)
    assert set(runs["arm"]) == {"none", "custom"}
    assert set(runs["optimizer.lr"]) == {0.1}
    assert set(runs["where"]) == {""}
    assert note == " Every arm at its best optimizer.lr, by val/accuracy."


def test_groups_beyond_the_panels_are_counted(grid):
    assert [name for name, _ in first_groups(grid.runs, 2)] == [
        "optimizer.lr=0.01",
        "optimizer.lr=0.1",
    ]
    assert groups_note(grid.runs, 2) == " The first 2 of 3 groups."
    assert groups_note(grid.runs, 3) == ""
    assert first_of_note(1, 2, "arms") == " The first 1 of 2 arms."
