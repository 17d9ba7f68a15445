"""Figures of arms, of a compared number, and of pairs."""

import pytest
from compare.helpers import write_run, write_seeds

from normlab.colours import COLOURS
from normlab.compare import compare, load_runs
from normlab.report.arm_figures import draw_arms, draw_pairs, draw_response
from normlab.report.drawing import figure_style
from normlab.report.learning_curves import draw_learning_curves


def test_intervals_of_folds_allow_for_shared_training_data(tmp_path):
    for fold in range(5):
        for seed in range(2):
            settings = {"dataset.fold": fold, "dataset.num_folds": 5}
            write_run(
                tmp_path,
                "none",
                seed,
                0.9 + 0.01 * fold + 0.004 * seed,
                settings=settings,
            )
            write_run(tmp_path, "torch", seed, 0.9, settings=settings)
    comparison = compare(load_runs(tmp_path), by=["norm", "dataset.num_folds"])
    drawing = draw_arms(comparison)
    axis = drawing.figure.axes[0]
    # Fold means 0.902 to 0.942: SD 0.0158, error 0.0158 sqrt(1/5 + 1/4) = 0.0106,
    # times t(4) = 2.776
    assert list(axis.lines[0].get_xdata()) == pytest.approx(
        [0.922 - 0.02945, 0.922 + 0.02945], abs=1e-4
    )
    assert (
        "over folds, allowing for the training data that they share" in drawing.caption
    )
    assert axis.get_yticklabels()[0].get_text() == "none,\nnum_folds=5"


def test_captions_show_levels_near_0_and_1(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91, 0.92]}, curve=[0.5, 0.9])
    runs = load_runs(tmp_path)
    for level, shown in ((0.001, "99.9%"), (0.9999, "0.01%")):
        comparison = compare(runs, level=level)
        assert f"mean and {shown} t interval" in draw_arms(comparison).caption
        assert (
            f"Mean and {shown} t interval" in draw_learning_curves(comparison).caption
        )


def test_the_response_is_drawn_over_the_compared_number(grid, tmp_path):
    assert draw_response(grid) is None  # norms are no numbers
    for size, value in ((2, 0.5), (8, 0.8), (64, 0.9)):
        for seed in range(3):
            write_run(
                tmp_path / "sizes",
                "ghost",
                seed,
                value + 0.01 * (seed - 1),
                settings={"norm.size": size},
            )
    axis = draw_response(
        compare(load_runs(tmp_path / "sizes"), by="norm.size", baseline="64")
    ).figure.axes[0]
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [2, 8, 64]
    assert line.get_ydata().tolist() == pytest.approx([0.5, 0.8, 0.9])
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2", "8", "64"]


def test_an_arm_without_the_compared_number_has_no_place_on_its_axis(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "none", seed, 0.7)
        for size in (2, 8, 64):
            settings = {"norm.size": size}
            write_run(tmp_path, "ghost", seed, 0.9, settings=settings)
    runs = load_runs(tmp_path)
    found = compare(runs, by="norm.size", baseline="64")
    assert sorted(found.arms) == ["2", "64", "8", "–"]
    axis = draw_response(found).figure.axes[0]
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [2, 8, 64]
    few = runs[runs["norm.size"] != 8]
    assert draw_response(compare(few, by="norm.size", baseline="64")) is None


def test_pairs_tell_rising_falling_and_equal_lines_apart(tmp_path):
    write_seeds(tmp_path, {"none": [0.90, 0.91, 0.92], "custom": [0.91, 0.90, 0.92]})
    drawing = draw_pairs(compare(load_runs(tmp_path)))
    rising, falling, equal, means = drawing.figure.axes[0].lines
    assert (rising.get_color(), falling.get_color(), equal.get_color()) == (
        COLOURS[1],
        COLOURS[-1],
        COLOURS[-1],
    )
    assert (falling.get_linestyle(), equal.get_linestyle()) == ("--", "-")
    assert means.get_ydata().tolist() == pytest.approx([0.91, 0.91])
    assert drawing.figure.axes[0].get_title() == "r = 0.50"
    assert drawing.description == "custom is above none in 1 of 3 pairs"


def test_every_fold_is_a_line_of_its_own(tmp_path):
    for fold in range(4):
        for norm in ("none", "custom"):
            write_run(
                tmp_path,
                norm,
                0,
                0.9 + 0.01 * fold,
                settings={"dataset.fold": fold, "dataset.num_folds": 4},
            )
    assert (
        len(draw_pairs(compare(load_runs(tmp_path))).figure.axes[0].lines) == 5
    )  # and the means


def test_folds_of_an_arm_that_never_finished_have_no_lines(tmp_path):
    arms = {"none": "finished", "custom": "finished", "torch": "diverged"}
    for fold in range(4):
        for norm, status in arms.items():
            settings = {"dataset.fold": fold, "dataset.num_folds": 4}
            value = 0.9 + 0.01 * fold
            write_run(tmp_path, norm, 0, value, status, settings=settings)
    found = compare(load_runs(tmp_path), baseline="none")
    assert found.contrasts["design"].tolist() == ["folds", "folds"]
    drawing = draw_pairs(found)
    assert drawing.description == "custom is above none in 0 of 4 pairs"
    assert draw_pairs(compare(load_runs(tmp_path), "norm", baseline="torch")) is None


def test_no_text_of_a_figure_lies_on_other_text(tmp_path):
    for lr in (0.01, 0.1):
        for momentum in (0.0, 0.5, 0.9):
            for norm in ("none", "custom"):
                settings = {"optimizer.lr": lr, "optimizer.momentum": momentum}
                write_run(tmp_path, norm, 0, 0.9, settings=settings)
                write_run(tmp_path, norm, 1, 0.91, settings=settings)
    comparison = compare(load_runs(tmp_path))
    for draw in (draw_arms, draw_pairs):
        with figure_style():
            figure = draw(comparison).figure
            figure.draw_without_rendering()
        boxes = [axis.title.get_window_extent() for axis in figure.axes]
        assert not any(
            one.overlaps(other)
            for place, one in enumerate(boxes)
            for other in boxes[:place]
        )
        assert max(box.x1 for box in boxes) <= figure.bbox.x1
