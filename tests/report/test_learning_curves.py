"""Learning curves: which runs they show, bands, notes."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.compare import compare, load_runs
from normlab.report.layer_figures import draw_layers
from normlab.report.learning_curves import draw_learning_curves


def test_learning_curves_are_drawn_at_the_best_rate(grid):
    drawing = draw_learning_curves(grid)
    assert len(drawing.figure.axes) == 1
    assert "Every arm at its best optimizer.lr, by val/accuracy." in drawing.caption
    assert "custom: val/accuracy goes from 0.5000 to 0.9210" in drawing.description


def test_the_band_of_curves_has_the_level_asked_for(tmp_path):
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        write_run(tmp_path, "none", seed, 0.9, curve=[value, 0.9])
    drawing = draw_learning_curves(compare(load_runs(tmp_path), level=0.2))
    assert drawing.caption.startswith("Mean and 80% t interval over seeds")
    vertices = drawing.figure.axes[0].collections[0].get_paths()[0].vertices
    first = vertices[vertices[:, 0] == 1][:, 1]
    half = 1.885618 * 0.1 / np.sqrt(3)  # t(0.9, 2)
    assert (first.min(), first.max()) == pytest.approx(
        (0.6 - half, 0.6 + half), abs=1e-6
    )


def test_runs_that_stopped_early_stay_in_the_curves(tmp_path):
    for seed, curve in enumerate(([0.5, 0.6], [0.5, 0.6], [0.5, 0.6, 0.3, 0.3])):
        write_run(tmp_path, "none", seed, 0.9, curve=curve)
        write_run(tmp_path, "custom", seed, 0.9, curve=[0.5, 0.7])
    drawing = draw_learning_curves(compare(load_runs(tmp_path)))
    none, custom = drawing.figure.axes[0].lines
    assert none.get_ydata().tolist() == pytest.approx([0.5, 0.6, 0.5, 0.5])
    assert custom.get_ydata().tolist() == pytest.approx([0.5, 0.7])
    assert "none: val/accuracy goes from 0.5000 to 0.5000" in drawing.description
    assert (
        "Runs that stopped before others of their arm keep their last value."
        in drawing.caption
    )


def test_curves_of_one_length_need_no_note(grid):
    assert "stopped before" not in draw_learning_curves(grid).caption
    assert not any("stopped before" in drawing.caption for drawing in draw_layers(grid))


def test_longer_lines_have_no_markers(grid):
    assert {
        line.get_marker() for line in draw_learning_curves(grid).figure.axes[0].lines
    } == {"None"}
    assert len(draw_layers(grid)[0].figure.axes) == 2


def test_curves_that_are_cut_are_not_drawn(tmp_path):
    for seed in range(3):
        folder = write_run(tmp_path, "none", seed, curve=[0.5, 0.6, 0.7])
        write_run(tmp_path, "custom", seed, curve=[0.5, 0.6, 0.7])
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:2]))
    drawing = draw_learning_curves(compare(load_runs(tmp_path)))
    assert [line.get_label() for line in drawing.figure.axes[0].lines] == [
        "none (n = 2)",
        "custom (n = 3)",
    ]
    assert "stopped before" not in drawing.caption
