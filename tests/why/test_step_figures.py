"""What the pictures along training say of unusual runs."""

import pandas as pd
import pytest

from normlab.report.drawing import figure_style
from normlab.why.measure import RunMeasures
from normlab.why.pictures import Arms
from normlab.why.step_figures import draw_covariate_shift, draw_landscape, untrained


def arms_with(**tables):
    run = RunMeasures("run", "none", 8, 40, 0, tables, 1.0)
    return Arms(["none"], [run])


def landscape(losses):
    table = pd.DataFrame({"step": range(1, len(losses) + 1), "loss": losses})
    for name in ("loss_min", "gradient_change_min"):
        table[name] = 0.5
    for name in ("loss_max", "gradient_change_max", "smoothness"):
        table[name] = 2.0
    return table


def test_a_run_that_does_not_train_is_named():
    arms = arms_with(landscape=landscape([2.0, 2.0, 2.1, 1.9, 2.0]))
    sentence = untrained(arms, arms.table("landscape"))
    assert sentence.startswith(" The loss of none was 2 at first and 2 at the end: ")
    with figure_style():
        assert sentence in draw_landscape(arms).here


@pytest.mark.parametrize("losses", [[2.0, 1.0, 0.5, 0.4, 0.4], [2.0, 2.0]])
def test_a_run_that_trains_or_was_hardly_seen_is_not(losses):
    arms = arms_with(landscape=landscape(losses))
    assert untrained(arms, arms.table("landscape")) == ""


def test_infinite_losses_leave_a_gap():
    table = landscape([2.0, 1.0, 0.5])
    table.loc[1, "loss_max"] = float("inf")
    with figure_style():
        figure = draw_landscape(arms_with(landscape=table)).drawing.figure
    upper = figure.axes[0].lines[0].get_ydata()
    assert pd.isna(upper).tolist() == [False, True, False]


def test_a_difference_of_zero_leaves_a_gap():
    table = pd.DataFrame(
        {
            "step": [1, 2],
            "layer": "output",
            "gradient_norm": 1.0,
            "difference": [0.5, 0.0],
            "cosine": [0.9, float("nan")],
        }
    )
    with figure_style():
        figure = draw_covariate_shift(arms_with(covariate_shift=table)).drawing.figure
    line = figure.axes[1].lines[0].get_ydata()
    assert line[0] == 0.5
    assert pd.isna(line[1])


def test_runs_without_a_measure_have_no_picture():
    arms = arms_with()
    assert draw_landscape(arms) is None
    assert draw_covariate_shift(arms) is None
