"""What the pictures of single states show and say, against small tables."""

import numpy as np
import pandas as pd
import pytest

from normlab.report.drawing import figure_style
from normlab.why.measure import RunMeasures
from normlab.why.pictures import Arms
from normlab.why.state_figures import draw_depth, draw_film, draw_surface


def arms_of(*runs):
    made = [
        RunMeasures(f"run-{arm}", arm, 8, 40, 16, tables, growth)
        for arm, growth, tables in runs
    ]
    return Arms([arm for arm, _, _ in runs], made)


def surface(losses):
    grid = [-1.0, 0.0, 1.0]
    b, a = np.meshgrid(grid, grid, indexing="ij")
    return pd.DataFrame({"a": a.ravel(), "b": b.ravel(), "loss": losses})


def test_gradients_by_depth_are_relative_to_the_last_hidden_layer():
    table = pd.DataFrame(
        {"depth": [1, 2, 3], "layer": list("xyz"), "squared_gradient": [6.0, 3.0, 1.5]}
    )
    arms = arms_of(("torch", 2.0, {"depth": table}))
    with figure_style():
        picture = draw_depth(arms)
    measured, theory = picture.drawing.figure.axes[0].lines
    assert measured.get_ydata().tolist() == [2.0, 1.0, 0.5]
    assert measured.get_label() == "torch: × 2 per layer"
    assert theory.get_xdata().tolist() == [1, 2]
    assert theory.get_ydata().tolist() == pytest.approx([1.467, 1.0], abs=1e-3)


def test_vanished_gradients_are_drawn_without_a_factor():
    table = pd.DataFrame(
        {"depth": [1, 2, 3], "layer": list("xyz"), "squared_gradient": [0.0, 0.0, 1.0]}
    )
    arms = arms_of(("none", float("nan"), {"depth": table}))
    with figure_style():
        picture = draw_depth(arms)
    assert "none unknown" in picture.here


def test_surfaces_share_their_levels_and_name_centre_and_rim():
    losses = [4.0, 2.0, 4.0, 2.0, 1.0, 2.0, 4.0, 2.0, float("inf")]
    arms = arms_of(
        ("none", 1.0, {"surface": surface(losses)}),
        ("torch", 1.0, {"surface": surface([8.0] * 9)}),
    )
    with figure_style():
        picture = draw_surface(arms)
    titles = [axis.get_title() for axis in picture.drawing.figure.axes[:2]]
    assert titles == ["none", "torch"]
    assert "none 1 at the centre and 3 at the median of the rim" in picture.here
    filled = [axis.collections[0] for axis in picture.drawing.figure.axes[:2]]
    assert filled[0].levels.tolist() == filled[1].levels.tolist()
    assert filled[0].levels[[0, -1]].tolist() == pytest.approx([1.0, 8.0])


def test_a_surface_without_finite_losses_has_no_picture():
    arms = arms_of(("none", 1.0, {"surface": surface([float("nan")] * 9)}))
    with figure_style():
        assert draw_surface(arms) is None


def film(running):
    frames = []
    for step, value in enumerate(running):
        for layer in ("first", "last"):
            frames.append(
                {
                    "step": step,
                    "layer": layer,
                    "channel": 0,
                    "running_mean": value,
                    "batch_mean": 2.0,
                    "running_var": 1.0,
                    "batch_var": 4.0,
                }
            )
    return pd.DataFrame(frames)


def test_the_film_shows_the_last_layer_frame_by_frame():
    arms = arms_of(("torch", 1.0, {"film": film([0.0, 2.0])}))
    with figure_style():
        picture = draw_film(arms)
    axes = picture.drawing.figure.axes
    assert [axis.get_title() for axis in axes] == [
        "at the start",
        "after step 1",
        "",
        "",
    ]
    points = axes[0].collections[0].get_offsets()
    assert points.tolist() == [[2.0, 0.0]]
    # From 2 apart to 0, in standard deviations of 2.
    assert "in layer last of torch the median distance" in picture.here
    assert "changes from 1 to 0 standard deviations" in picture.here


def test_arms_that_find_no_place_are_counted():
    runs = [
        (f"arm {n}", 1.0, {"surface": surface([1.0] * 8 + [2.0])}) for n in range(6)
    ]
    with figure_style():
        picture = draw_surface(arms_of(*runs))
    assert picture.measured.endswith("centre alone. The first 4 of 6 arms")
    films = [(f"arm {n}", 1.0, {"film": film([0.0, 2.0])}) for n in range(3)]
    with figure_style():
        picture = draw_film(arms_of(*films))
    assert picture.measured.endswith("of that step. The first 2 of 3 arms")
