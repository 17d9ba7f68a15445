"""All figures of a comparison, in their order."""

from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report.arm_figures import draw_pairs
from normlab.report.figures import draw_figures
from normlab.report.layer_figures import draw_layers
from normlab.report.learning_curves import draw_learning_curves
from normlab.report.setting_figures import draw_sensitivity


def test_every_figure_is_drawn_and_described(grid):
    drawn = draw_figures(grid)
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


def test_figures_without_their_data_are_left_out(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91]})
    for seed in (7, 8):
        write_run(tmp_path, "custom", seed, 0.92)
    assert draw_pairs(compare(load_runs(tmp_path))) is None
    assert draw_learning_curves(compare(load_runs(tmp_path))) is None  # no metrics.csv
    assert draw_sensitivity(compare(load_runs(tmp_path))) is None
    assert draw_layers(compare(load_runs(tmp_path))) == []
