"""Which of several values is taken, and which direction is better."""

import math

import numpy as np
import pytest

from normlab.compare.result_values import Choice, shortest_decimal, uneven_ends


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        (Choice("acc"), 3),
        (Choice("acc", "best"), 1),
        (Choice("loss", "best"), 2),
        (Choice("score", "best", "lower"), 2),
    ],
)
def test_the_last_or_the_best_value(choice, place):
    assert choice.place([0.5, 0.9, 0.1, 0.7]) == place


def test_the_best_value_leaves_out_what_is_not_finite():
    assert Choice("acc", "best").place([0.5, math.inf, math.nan, 0.7]) == 3


def test_a_run_that_ends_with_nan_has_diverged():
    assert Choice("acc", "best").place([0.5, 0.9, math.nan]) == 2


def test_points_are_put_in_order_of_step_and_time():
    points = [(2, 9.0, 0.5), (1, 8.0, 0.9), (2, 7.0, 0.7), (0, 0.0, 0.1)]
    assert Choice("acc").value_of("acc", points) == 0.5
    assert Choice("acc", "best").value_of("acc", points) == 0.9
    assert Choice("acc", "best").value_of("loss", points) == 0.5


def test_an_unknown_direction_is_asked_for():
    assert not Choice("score", better="lower").higher
    with pytest.raises(ValueError, match="better must be higher or lower: the name sc"):
        _ = Choice("score").higher


@pytest.mark.parametrize("arguments", [("acc", "first"), ("acc", "last", "up")])
def test_other_words_are_refused(arguments):
    with pytest.raises(ValueError, match=f"must be .* got {arguments[-1]}"):
        Choice(*arguments)


def test_the_note_says_that_a_best_value_favours():
    assert Choice("acc").note("x") == "Of x, the last acc of every run is compared."
    assert "has the advantage" in Choice("acc", "best").note("x")


def test_a_note_says_that_runs_end_at_different_times():
    assert uneven_ends([3, 3, math.nan], "epoch") == []
    assert uneven_ends([], "epoch") == []
    (note,) = uneven_ends([3, 10], "epoch")
    assert "their last epoch is 3 to 10" in note


@pytest.mark.parametrize(
    ("number", "decimal"),
    [
        (np.float32(0.1), 0.1),
        (np.float32(1e-5), 1e-5),
        (np.float32(16777216), 16777216.0),
        (np.float64(0.1), 0.1),
        (np.float64(np.float32(0.1)), 0.10000000149011612),
        (np.float32(math.inf), math.inf),
        (np.int64(3), 3.0),
    ],
)
def test_a_number_is_the_shortest_decimal_of_its_type(number, decimal):
    assert shortest_decimal(number) == decimal


def test_nan_in_single_precision_stays():
    assert math.isnan(shortest_decimal(np.float32(math.nan)))
