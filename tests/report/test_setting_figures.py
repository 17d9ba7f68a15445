"""Figures along one hyperparameter and over two of them."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.colours import COLOURS
from normlab.compare import compare, load_runs
from normlab.report.arm_figures import draw_arms
from normlab.report.setting_figures import draw_heatmap, draw_sensitivity


def test_sensitivity_shows_the_share_of_diverged_runs(grid):
    drawing = draw_sensitivity(grid)
    assert drawing.title == "test/accuracy and divergence against optimizer.lr"
    lower = drawing.figure.axes[1]
    shares = {line.get_color(): list(line.get_ydata()) for line in lower.lines}
    assert shares == {COLOURS[0]: [0, 0, 1], COLOURS[1]: [0, 0, 0]}
    assert lower.get_xscale() == "log"


def test_the_divergence_panel_is_left_out_if_none_diverged(grid):
    runs = grid.runs.assign(status="finished")
    drawing = draw_sensitivity(compare(runs))
    assert len(drawing.figure.axes) == 1
    assert drawing.caption.endswith("none diverged.")


def test_a_selection_still_shows_the_whole_grid(grid, tmp_path):
    chosen = compare(load_runs(tmp_path), select="optimizer.lr")
    assert len(draw_sensitivity(chosen).figure.axes[0].lines[0].get_xdata()) == 3
    assert len(draw_arms(chosen).figure.axes) == 1


def test_a_learning_rate_among_the_arms_still_has_its_figure(grid):
    comparison = compare(
        grid.runs, by=["norm", "optimizer.lr"], baseline="none, optimizer.lr=0.1"
    )
    drawing = draw_sensitivity(comparison)
    assert drawing.title == "test/accuracy and divergence against optimizer.lr"
    lines = {line.get_label(): line for line in drawing.figure.axes[0].lines}
    assert list(lines) == ["none", "custom"]
    assert lines["custom"].get_xdata().tolist() == [0.01, 0.1, 1]
    assert lines["custom"].get_ydata().tolist() == pytest.approx([0.911, 0.921, 0.911])
    assert lines["none"].get_ydata().tolist() == pytest.approx(
        [0.891, 0.901, np.nan], nan_ok=True
    )
    assert (
        draw_sensitivity(compare(grid.runs, by="optimizer.lr", within=["norm"])) is None
    )  # draw_response draws it


def test_heatmap_over_two_hyperparameters(tmp_path):
    for lr in (0.01, 0.1):
        for momentum in (0.0, 0.9):
            for seed in range(2):
                settings = {"optimizer.lr": lr, "optimizer.momentum": momentum}
                write_run(
                    tmp_path,
                    "none",
                    seed,
                    0.8 + lr + 0.01 * momentum,
                    settings=settings,
                )
    drawing = draw_heatmap(compare(load_runs(tmp_path)))
    axis = drawing.figure.axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == (
        "optimizer.lr",
        "optimizer.momentum",
    )
    assert [text.get_text() for text in axis.texts] == [
        "0.8100",
        "0.9000",
        "0.8190",
        "0.9090",
    ]


def test_heatmaps_do_not_average_over_other_settings(tmp_path):
    for dataset, base in (("digits", 0.9), ("mnist", 0.5)):
        for lr in (0.01, 0.1):
            for momentum in (0.0, 0.9):
                settings = {"choices.dataset": dataset, "dataset.name": dataset}
                settings |= {"optimizer.lr": lr, "optimizer.momentum": momentum}
                for seed in range(2):
                    write_run(tmp_path, "none", seed, base, settings=settings)
    comparison = compare(load_runs(tmp_path))
    drawing = draw_heatmap(comparison)
    shown = {
        axis.get_title(): {text.get_text() for text in axis.texts}
        for axis in drawing.figure.axes
    }
    assert shown == {
        "none\ndataset=digits": {"0.9000"},
        "none\ndataset=mnist": {"0.5000"},
    }
    assert "none at dataset=mnist: best mean 0.5000" in drawing.description
    by_data = draw_heatmap(comparison, ("dataset", "optimizer.lr"))
    assert [axis.get_title() for axis in by_data.figure.axes] == [
        "none\noptimizer.momentum=0",
        "none\noptimizer.momentum=0.9",
    ]


def test_heatmaps_keep_the_other_settings_of_an_arm_apart(tmp_path):
    for norm, base in (("custom", 0.9), ("torch", 0.5)):
        for momentum in (0.1, 0.2):
            for lr in (0.01, 0.1):
                for seed in range(2):
                    write_run(
                        tmp_path,
                        norm,
                        seed,
                        base,
                        settings={"norm.momentum": momentum, "optimizer.lr": lr},
                    )
    drawing = draw_heatmap(
        compare(load_runs(tmp_path)), ("norm.momentum", "optimizer.lr")
    )
    shown = {
        axis.get_title(): {text.get_text() for text in axis.texts}
        for axis in drawing.figure.axes
    }
    assert shown == {"custom": {"0.9000"}, "torch": {"0.5000"}}


def test_panels_that_are_left_out_are_counted(tmp_path):
    for momentum in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95):
        for lr in (0.01, 0.1, 1.0):
            for size in (32, 64):
                settings = {
                    "optimizer.lr": lr,
                    "optimizer.momentum": momentum,
                    "dataset.batch_size": size,
                }
                for seed in range(2):
                    write_run(tmp_path, "none", seed, 0.9, settings=settings)
    comparison = compare(load_runs(tmp_path))
    assert (
        "The first 6 of 7 panels."
        in draw_heatmap(comparison, ("optimizer.lr", "dataset.batch_size")).caption
    )
    drawing = draw_sensitivity(comparison)
    assert len(drawing.figure.axes) == 3
    assert "The first 3 of 14 groups." in drawing.caption
