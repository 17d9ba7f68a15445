"""Figures: which are drawn from which runs, their words, their files."""

import re

import numpy as np
import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report.figures import (
    COLOURS,
    INK,
    inline_svg,
    logarithmic,
    look,
    mark,
    middle_and_band,
    panels,
    save,
    style,
    title_of,
)
from normlab.report.layer_figures import layer_figures
from normlab.report.run_figures import (
    FIGURES,
    arms,
    heatmap,
    learning_curves,
    pairs,
    response,
    sensitivity,
)


@pytest.fixture
def grid(tmp_path):
    for lr in (0.01, 0.1, 1.0):
        for seed in range(3):
            for norm, gain in (("none", 0.0), ("custom", 0.02)):
                value = 0.9 + gain + 0.001 * seed - 0.01 * abs(np.log10(lr) + 1)
                status = "diverged" if norm == "none" and lr == 1.0 else "finished"
                settings = {"optimizer.lr": lr}
                write_run(
                    tmp_path,
                    norm,
                    seed,
                    value,
                    status,
                    settings,
                    curve=[0.5, 0.7, value],
                    layers=True,
                )
    return compare(load_runs(tmp_path))


def test_every_figure_is_drawn_and_described(grid):
    with style():
        drawn = [
            drawing for draw in FIGURES if (drawing := draw(grid))
        ] + layer_figures(grid)
    names = [drawing.name for drawing in drawn]
    assert names == [
        "arms",
        "pairs",
        "learning_curves",
        "sensitivity",
        "gradients",
        "quantiles",
        "drift",
    ]
    assert all(
        drawing.title and drawing.caption and drawing.description for drawing in drawn
    )


def test_learning_curves_are_drawn_at_the_best_rate(grid):
    drawing = learning_curves(grid)
    assert len(drawing.figure.axes) == 1
    assert "Every arm at its best optimizer.lr, by val/accuracy." in drawing.caption
    assert "custom: val/accuracy goes from 0.5000 to 0.9210" in drawing.description


def test_sensitivity_shows_the_share_of_diverged_runs(grid):
    drawing = sensitivity(grid)
    assert drawing.title == "test/accuracy and divergence against optimizer.lr"
    lower = drawing.figure.axes[1]
    shares = {line.get_color(): list(line.get_ydata()) for line in lower.lines}
    assert shares == {COLOURS[0]: [0, 0, 1], COLOURS[1]: [0, 0, 0]}
    assert lower.get_xscale() == "log"


def test_the_metric_against_a_compared_number(grid, tmp_path):
    assert response(grid) is None  # norms are no numbers
    for size, value in ((2, 0.5), (8, 0.8), (64, 0.9)):
        for seed in range(3):
            write_run(
                tmp_path / "sizes",
                "ghost",
                seed,
                value + 0.01 * (seed - 1),
                settings={"norm.size": size},
            )
    axis = response(
        compare(load_runs(tmp_path / "sizes"), by="norm.size", baseline="64")
    ).figure.axes[0]
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [2, 8, 64]
    assert line.get_ydata().tolist() == pytest.approx([0.5, 0.8, 0.9])
    assert axis.get_xscale() == "log"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2", "8", "64"]


def test_without_divergence_its_panel_is_left_out(grid):
    runs = grid.runs.assign(status="finished")
    drawing = sensitivity(compare(runs))
    assert len(drawing.figure.axes) == 1
    assert drawing.caption.endswith("none diverged.")


def test_pairs_tell_rising_falling_and_equal_lines_apart(tmp_path):
    write_seeds(tmp_path, {"none": [0.90, 0.91, 0.92], "custom": [0.91, 0.90, 0.92]})
    drawing = pairs(compare(load_runs(tmp_path)))
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


def test_folds_are_lines_of_their_own(tmp_path):
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
        len(pairs(compare(load_runs(tmp_path))).figure.axes[0].lines) == 5
    )  # and the means


def test_many_arms_look_different(tmp_path):
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
        (*look(comparison, arm).values(), mark(comparison, arm))
        for arm in comparison.arms
    ]
    assert len(set(looks)) == len(comparison.arms) == 19
    drawing = learning_curves(comparison)
    assert len(drawing.figure.legends[0].texts) == 19  # beside the panel, all of them
    assert drawing.figure.get_figheight() > 3.8
    assert drawing.caption.startswith("Mean over seeds; diverged")
    assert not drawing.figure.axes[0].collections  # no bands over each other


def test_logarithmic_ticks_are_plain_numbers():
    for low, high, expected in (
        (0.01, 100, ["0.01", "0.1", "1", "10", "100"]),
        (0.004, 0.03, ["0.005", "0.01", "0.02"]),
    ):
        axis = panels(1)[1][0]
        axis.set_xlim(low, high)
        logarithmic(axis.xaxis)
        axis.figure.draw_without_rendering()
        shown = [label.get_text() for label in axis.get_xticklabels()]
        ticks = axis.get_xticks()
        assert [
            text for text, tick in zip(shown, ticks, strict=True) if low <= tick <= high
        ] == expected


def test_a_selection_still_shows_the_whole_grid(grid, tmp_path):
    chosen = compare(load_runs(tmp_path), select="optimizer.lr")
    assert len(sensitivity(chosen).figure.axes[0].lines[0].get_xdata()) == 3
    assert len(arms(chosen).figure.axes) == 1


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
    drawing = arms(comparison)
    axis = drawing.figure.axes[0]
    # Fold means .902 to .942: SD .0158, error .0158 sqrt(1/5 + 1/4) = .0106, times t(4) = 2.776
    assert list(axis.lines[0].get_xdata()) == pytest.approx(
        [0.922 - 0.02945, 0.922 + 0.02945], abs=1e-4
    )
    assert (
        "over folds, allowing for the training data that they share" in drawing.caption
    )
    assert axis.get_yticklabels()[0].get_text() == "none,\nnum_folds=5"


def test_pairs_need_common_seeds(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91]})
    for seed in (7, 8):
        write_run(tmp_path, "custom", seed, 0.92)
    assert pairs(compare(load_runs(tmp_path))) is None
    assert learning_curves(compare(load_runs(tmp_path))) is None  # no metrics.csv
    assert sensitivity(compare(load_runs(tmp_path))) is None
    assert layer_figures(compare(load_runs(tmp_path))) == []


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
    drawing = heatmap(compare(load_runs(tmp_path)))
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


def test_band_is_the_t_interval_of_every_epoch():
    mean, low, high = middle_and_band(
        np.array([[1.0, 4.0], [2.0, np.nan], [3.0, np.nan]]), 0.95
    )
    assert mean.tolist() == [2, 4]
    assert (low[0], high[0]) == pytest.approx(
        (2 - 2.484138, 2 + 2.484138), abs=1e-6
    )  # t(.975, 2) / sqrt(3)
    assert np.isnan(low[1])


def test_files_and_the_element_for_the_report(grid, tmp_path):
    with style():
        drawing = arms(grid)
    paths = save(drawing, tmp_path / "figures")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert all(path.stat().st_size > 1000 for path in paths)
    svg = inline_svg(drawing, "first")
    assert svg.startswith("<svg style=")
    assert INK not in svg
    assert "currentColor" in svg
    ids = re.findall(r' id="([^"]*)"', svg)
    assert ids
    assert all(name.startswith("first-") for name in ids)


def test_heatmaps_do_not_average_over_other_settings(tmp_path):
    for dataset, base in (("digits", 0.9), ("mnist", 0.5)):
        for lr in (0.01, 0.1):
            for momentum in (0.0, 0.9):
                settings = {"choices.dataset": dataset, "dataset.name": dataset}
                settings |= {"optimizer.lr": lr, "optimizer.momentum": momentum}
                for seed in range(2):
                    write_run(tmp_path, "none", seed, base, settings=settings)
    comparison = compare(load_runs(tmp_path))
    drawing = heatmap(comparison)
    shown = {
        axis.get_title(): {text.get_text() for text in axis.texts}
        for axis in drawing.figure.axes
    }
    assert shown == {
        "none\ndataset=digits": {"0.9000"},
        "none\ndataset=mnist": {"0.5000"},
    }
    assert "none at dataset=mnist: best mean 0.5000" in drawing.description
    by_data = heatmap(comparison, ("dataset", "optimizer.lr"))
    assert [axis.get_title() for axis in by_data.figure.axes] == [
        "none\noptimizer.momentum=0",
        "none\noptimizer.momentum=0.9",
    ]


def test_heatmaps_of_a_setting_of_the_arms_keep_the_rest_of_the_arm_apart(tmp_path):
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
    drawing = heatmap(compare(load_runs(tmp_path)), ("norm.momentum", "optimizer.lr"))
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
        in heatmap(comparison, ("optimizer.lr", "dataset.batch_size")).caption
    )
    drawing = sensitivity(comparison)
    assert len(drawing.figure.axes) == 3
    assert "The first 3 of 14 groups." in drawing.caption


def test_the_band_of_curves_is_at_the_level_asked_for(tmp_path):
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        write_run(tmp_path, "none", seed, 0.9, curve=[value, 0.9])
    drawing = learning_curves(compare(load_runs(tmp_path), level=0.2))
    assert drawing.caption.startswith("Mean and 80% t interval over seeds")
    vertices = drawing.figure.axes[0].collections[0].get_paths()[0].vertices
    first = vertices[vertices[:, 0] == 1][:, 1]
    half = 1.885618 * 0.1 / np.sqrt(3)  # t(.9, 2)
    assert (first.min(), first.max()) == pytest.approx(
        (0.6 - half, 0.6 + half), abs=1e-6
    )


def test_runs_that_stopped_early_stay_in_the_curves(tmp_path):
    for seed, curve in enumerate(([0.5, 0.6], [0.5, 0.6], [0.5, 0.6, 0.3, 0.3])):
        write_run(tmp_path, "none", seed, 0.9, curve=curve)
        write_run(tmp_path, "custom", seed, 0.9, curve=[0.5, 0.7])
    drawing = learning_curves(compare(load_runs(tmp_path)))
    none, custom = drawing.figure.axes[0].lines
    assert none.get_ydata().tolist() == pytest.approx([0.5, 0.6, 0.5, 0.5])
    assert custom.get_ydata().tolist() == pytest.approx([0.5, 0.7])
    assert "none: val/accuracy goes from 0.5000 to 0.5000" in drawing.description
    assert (
        "Runs that stopped before others of their arm keep their last value."
        in drawing.caption
    )


def test_curves_of_one_length_need_no_note(grid):
    assert "stopped before" not in learning_curves(grid).caption
    assert not any(
        "stopped before" in drawing.caption for drawing in layer_figures(grid)
    )


def test_layers_of_an_arm_that_stopped_earlier_are_shown(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "none", seed, 0.9, curve=[0.5, 0.9, 0.9], layers=True)
        write_run(
            tmp_path,
            "custom",
            seed,
            0.9,
            curve=[0.5, 0.9] if seed else [0.5],
            layers=True,
        )
    gradients, quantiles, drift = layer_figures(compare(load_runs(tmp_path)))
    last = gradients.figure.axes[1]
    assert last.get_title() == "last epoch of each run"
    assert [line.get_label() for line in last.lines] == ["none", "custom"]
    assert "custom at last epoch of its runs: " in gradients.description
    assert "custom, scale: " in drift.description
    custom = quantiles.figure.axes[1].lines[0]
    assert custom.get_xdata().tolist() == [1, 2]
    for drawing in (quantiles, drift):
        assert (
            "Runs that stopped before others of their arm keep their last value."
            in drawing.caption
        )


def test_layers_of_every_group_are_shown(tmp_path):
    for size in (16, 32, 64, 128):
        for seed in range(2):
            settings = {"dataset.batch_size": size}
            write_run(
                tmp_path,
                "custom",
                seed,
                0.9,
                settings=settings,
                curve=[0.5, 0.9],
                layers=True,
            )
    drawn = layer_figures(compare(load_runs(tmp_path)))
    names = ["gradients", "quantiles", "drift"]
    assert [drawing.name for drawing in drawn] == [
        *names,
        *(f"{name}_2" for name in names),
        *(f"{name}_3" for name in names),
    ]
    assert drawn[3].title == "Gradient norm by depth (dataset.batch_size=32)"
    assert all("The first 3 of 4 groups." in drawing.caption for drawing in drawn)


def test_a_learning_rate_among_the_arms_still_has_its_figure(grid):
    comparison = compare(
        grid.runs, by=["norm", "optimizer.lr"], baseline="none, optimizer.lr=0.1"
    )
    drawing = sensitivity(comparison)
    assert drawing.title == "test/accuracy and divergence against optimizer.lr"
    lines = {line.get_label(): line for line in drawing.figure.axes[0].lines}
    assert list(lines) == ["none", "custom"]
    assert lines["custom"].get_xdata().tolist() == [0.01, 0.1, 1]
    assert lines["custom"].get_ydata().tolist() == pytest.approx([0.911, 0.921, 0.911])
    assert lines["none"].get_ydata().tolist() == pytest.approx(
        [0.891, 0.901, np.nan], nan_ok=True
    )
    assert (
        sensitivity(compare(grid.runs, by="optimizer.lr", within=["norm"])) is None
    )  # `response` draws it


def test_one_epoch_is_a_point(tmp_path):
    for seed in range(3):
        for norm in ("none", "custom"):
            write_run(tmp_path, norm, seed, curve=[0.5 + 0.1 * seed], layers=True)
    write_run(tmp_path, "none", 3, status="diverged", curve=[0.1])
    comparison = compare(load_runs(tmp_path))
    curves = learning_curves(comparison)
    assert [line.get_marker() for line in curves.figure.axes[0].lines] == [
        ".",
        "o",
        "s",
    ]
    (bar, _) = curves.figure.axes[0].collections
    half = 4.302653 * 0.1 / np.sqrt(3)  # t(.975, 2)
    assert bar.get_segments()[0][:, 1].tolist() == pytest.approx(
        [0.6 - half, 0.6 + half]
    )
    gradients, *others = layer_figures(comparison)
    assert [axis.get_title() for axis in gradients.figure.axes] == ["epoch 1"]
    for drawing in others:
        lines = [line for axis in drawing.figure.axes for line in axis.lines]
        assert lines
        assert {line.get_marker() for line in lines} == {"o"}


def test_longer_lines_have_no_markers(grid):
    assert {
        line.get_marker() for line in learning_curves(grid).figure.axes[0].lines
    } == {"None"}
    assert len(layer_figures(grid)[0].figure.axes) == 2


def test_titles_have_a_setting_a_line():
    assert title_of("optimizer.lr=0.1, model.hidden=[128, 64], seed=3") == (
        "optimizer.lr=0.1,\nmodel.hidden=[128, 64],\nseed=3"
    )


def test_no_text_of_a_figure_lies_on_other_text(tmp_path):
    for lr in (0.01, 0.1):
        for momentum in (0.0, 0.5, 0.9):
            for norm in ("none", "custom"):
                settings = {"optimizer.lr": lr, "optimizer.momentum": momentum}
                write_run(tmp_path, norm, 0, 0.9, settings=settings)
                write_run(tmp_path, norm, 1, 0.91, settings=settings)
    comparison = compare(load_runs(tmp_path))
    for draw in (arms, pairs):
        with style():
            figure = draw(comparison).figure
            figure.draw_without_rendering()
        boxes = [axis.title.get_window_extent() for axis in figure.axes]
        assert not any(
            one.overlaps(other)
            for place, one in enumerate(boxes)
            for other in boxes[:place]
        )
        assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_more_than_three_names_stand_beside_the_lines(tmp_path):
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
    for drawing in (learning_curves(comparison), layer_figures(comparison)[0]):
        assert len(drawing.figure.legends[0].texts) == 4
        assert drawing.figure.axes[0].get_legend() is None
        assert drawing.figure.axes[0].collections  # the bands stay
    small = compare(comparison.runs[comparison.runs["norm.size"] < 4])
    assert learning_curves(small).figure.legends == []


def test_captions_tell_levels_near_none_and_all(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91, 0.92]}, curve=[0.5, 0.9])
    runs = load_runs(tmp_path)
    for level, shown in ((0.001, "99.9%"), (0.9999, "0.01%")):
        comparison = compare(runs, level=level)
        assert f"mean and {shown} t interval" in arms(comparison).caption
        assert f"Mean and {shown} t interval" in learning_curves(comparison).caption


def test_curves_that_are_cut_are_not_drawn(tmp_path):
    for seed in range(3):
        folder = write_run(tmp_path, "none", seed, curve=[0.5, 0.6, 0.7])
        write_run(tmp_path, "custom", seed, curve=[0.5, 0.6, 0.7])
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2]))
    drawing = learning_curves(compare(load_runs(tmp_path)))
    assert [line.get_label() for line in drawing.figure.axes[0].lines] == [
        "none (n = 2)",
        "custom (n = 3)",
    ]
    assert "stopped before" not in drawing.caption


def write_statistics(folder, rows):
    lines = [
        "epoch,step,layer,statistic,value",
        *(",".join(map(str, row)) for row in rows),
    ]
    (folder / "statistics.csv").write_text("\n".join(lines))


@pytest.mark.filterwarnings("error")
def test_gradients_of_zero_have_no_logarithm(tmp_path):
    for seed in range(2):
        folder = write_run(tmp_path, "none", seed, curve=[0.5, 0.9])
        write_statistics(
            folder,
            [
                (epoch, 18, layer, "gradient_norm", 0)
                for epoch in (1, 2)
                for layer in "ab"
            ],
        )
    (drawing,) = layer_figures(compare(load_runs(tmp_path)))
    assert [axis.get_yscale() for axis in drawing.figure.axes] == ["linear", "linear"]
    drawing.figure.draw_without_rendering()
    for seed in range(2):  # dead from the second epoch on
        folder = write_run(tmp_path, "custom", seed, curve=[0.5, 0.9])
        write_statistics(
            folder,
            [
                (1, 18, "a", "gradient_norm", 0.1 + 0.2 * seed),
                (2, 36, "a", "gradient_norm", 0),
            ],
        )
    (drawing,) = layer_figures(compare(load_runs(tmp_path)))
    drawing.figure.draw_without_rendering()
    none, custom = drawing.figure.axes[0].lines
    assert np.isnan(none.get_ydata()).all()
    assert custom.get_ydata().tolist() == pytest.approx([0.2])
    assert "none at epoch 1: 0.0000 in the first layer" in drawing.description


def test_quantiles_that_are_missing_are_left_out(tmp_path):
    for seed in range(2):
        folder = write_run(tmp_path, "none", seed, curve=[0.5])
        write_statistics(
            folder,
            [(1, 18, "a", "activation_q15", -1), (1, 18, "a", "activation_q50", "nan")],
        )
    (drawing,) = layer_figures(compare(load_runs(tmp_path)))
    assert drawing.description == "none 15 %: -1.0000 to -1.0000"
