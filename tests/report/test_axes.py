"""Styles of arms, bands, ticks and titles that figures share."""

import numpy as np
import pytest
from compare.helpers import write_run
from matplotlib.figure import Figure

from normlab.compare import compare, load_runs
from normlab.report.axes import (
    arm_marker,
    arm_style,
    limit_accuracy_axis,
    make_logarithmic,
    make_panels,
    mean_and_interval,
    metric_lines,
    one_setting_per_line,
)
from normlab.report.layer_figures import draw_layers
from normlab.report.learning_curves import draw_learning_curves


def test_many_arms_have_different_styles(tmp_path):
    for size in range(1, 20):
        for seed in range(2):
            write_run(
                tmp_path,
                "ghost",
                seed,
                0.9,
                settings={"norm.size": size},
                curve=[0.5, 0.9],
            )
    comparison = compare(load_runs(tmp_path))
    looks = [
        (*arm_style(comparison, arm).values(), arm_marker(comparison, arm))
        for arm in comparison.arms
    ]
    assert len(set(looks)) == len(comparison.arms) == 19
    drawing = draw_learning_curves(comparison)
    assert len(drawing.figure.legends[0].texts) == 19  # beside the panel, all of them
    assert drawing.figure.get_figheight() > 3.8
    assert drawing.caption.startswith("Mean over seeds; diverged")
    assert not drawing.figure.axes[0].collections  # no bands over each other


def test_a_legend_of_more_than_three_names_is_outside(tmp_path):
    for size in range(1, 5):
        for seed in range(2):
            write_run(
                tmp_path,
                "ghost",
                seed,
                0.9,
                settings={"norm.size": size},
                curve=[0.5, 0.9],
                layers=True,
            )
    comparison = compare(load_runs(tmp_path))
    for drawing in (draw_learning_curves(comparison), draw_layers(comparison)[0]):
        assert len(drawing.figure.legends[0].texts) == 4
        assert drawing.figure.axes[0].get_legend() is None
        assert drawing.figure.axes[0].collections  # the bands stay
    small = compare(comparison.runs[comparison.runs["norm.size"] < 4])
    assert draw_learning_curves(small).figure.legends == []


def test_logarithmic_ticks_are_plain_numbers():
    for low, high, expected in (
        (0.01, 100, ["0.01", "0.1", "1", "10", "100"]),
        (0.004, 0.03, ["0.005", "0.01", "0.02"]),
    ):
        axis = make_panels(1)[1][0]
        axis.set_xlim(low, high)
        make_logarithmic(axis.xaxis)
        axis.figure.draw_without_rendering()
        shown = [label.get_text() for label in axis.get_xticklabels()]
        ticks = axis.get_xticks()
        assert [
            text for text, tick in zip(shown, ticks, strict=True) if low <= tick <= high
        ] == expected


def test_band_is_the_t_interval_of_every_epoch():
    mean, low, high = mean_and_interval(
        np.array([[1.0, 4.0], [2.0, np.nan], [3.0, np.nan]]), 0.95
    )
    assert mean.tolist() == [2, 4]
    assert (low[0], high[0]) == pytest.approx(
        (2 - 2.484138, 2 + 2.484138), abs=1e-6
    )  # t(0.975, 2) / sqrt(3)
    assert np.isnan(low[1])


def test_long_names_of_metrics_are_broken_into_lines():
    assert metric_lines("test/accuracy") == "test/accuracy"
    assert metric_lines("test/contrast:5 adapted minus contrast:5 accuracy") == (
        "test/contrast:5 adapted minus\ncontrast:5 accuracy"
    )


def test_titles_have_one_setting_per_line():
    assert one_setting_per_line("optimizer.lr=0.1, model.hidden=[128, 64], seed=3") == (
        "optimizer.lr=0.1,\nmodel.hidden=[128, 64],\nseed=3"
    )


@pytest.mark.parametrize(
    ("metric", "limits"),
    [
        ("test/accuracy", (-0.02, 1.02)),
        ("test/change of accuracy", (-0.5, 1.5)),
        ("test/slope of accuracy", (-0.5, 1.5)),
        ("test/rmse", (-0.5, 1.5)),
    ],
)
def test_only_the_axis_of_an_accuracy_is_limited(metric, limits):
    axis = Figure().add_subplot()
    axis.set_ylim(-0.5, 1.5)
    limit_accuracy_axis(axis.yaxis, metric)
    assert axis.get_ylim() == limits
