"""Figures of what happens inside the networks."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.compare import compare, load_runs
from normlab.report.layer_figures import draw_layers
from normlab.report.learning_curves import draw_learning_curves


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
    gradients, quantiles, drift = draw_layers(compare(load_runs(tmp_path)))
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
    drawn = draw_layers(compare(load_runs(tmp_path)))
    names = ["gradients", "quantiles", "drift"]
    assert [drawing.name for drawing in drawn] == [
        *names,
        *(f"{name}_2" for name in names),
        *(f"{name}_3" for name in names),
    ]
    assert drawn[3].title == "Gradient norm by depth (dataset.batch_size=32)"
    assert all("The first 3 of 4 groups." in drawing.caption for drawing in drawn)


def test_one_epoch_is_a_point(tmp_path):
    for seed in range(3):
        for norm in ("none", "custom"):
            write_run(tmp_path, norm, seed, curve=[0.5 + 0.1 * seed], layers=True)
    write_run(tmp_path, "none", 3, status="diverged", curve=[0.1])
    comparison = compare(load_runs(tmp_path))
    curves = draw_learning_curves(comparison)
    assert [line.get_marker() for line in curves.figure.axes[0].lines] == [
        ".",
        "o",
        "s",
    ]
    (bar, _) = curves.figure.axes[0].collections
    half = 4.302653 * 0.1 / np.sqrt(3)  # t(0.975, 2)
    assert bar.get_segments()[0][:, 1].tolist() == pytest.approx(
        [0.6 - half, 0.6 + half]
    )
    gradients, *others = draw_layers(comparison)
    assert [axis.get_title() for axis in gradients.figure.axes] == ["epoch 1"]
    for drawing in others:
        lines = [line for axis in drawing.figure.axes for line in axis.lines]
        assert lines
        assert {line.get_marker() for line in lines} == {"o"}


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
    (drawing,) = draw_layers(compare(load_runs(tmp_path)))
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
    (drawing,) = draw_layers(compare(load_runs(tmp_path)))
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
    (drawing,) = draw_layers(compare(load_runs(tmp_path)))
    assert drawing.description == "none 15 %: -1.0000 to -1.0000"
