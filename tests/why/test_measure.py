"""Measures of stored runs: which there are, which are missing, and their numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from normlab.evaluation.evaluate import load_run, prepare_stored
from normlab.why.measure import Settings, load_state, measure_run, measured_steps

from .conftest import SHORT

CONF = Path(__file__).resolve().parents[2] / "conf"
NORMS = sorted(path.stem for path in (CONF / "norm").glob("*.yaml"))
WITH_FILM = (
    *("torch", "custom", "ghost", "batch_renorm", "noisy_batch", "frozen"),
    *("batch_channel", "switchable"),
)
SHORTEST = Settings(steps=2, points=1, frames=2, samples=8, grid=3)
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(scope="module")
def measures(runs):
    return measure_run(runs[1], "torch", SHORT)


def test_all_measures_of_a_run_with_batch_norm(measures):
    assert set(measures.tables) == {
        *("landscape", "covariate_shift", "depth", "surface", "film"),
    }
    # 300 samples are divided into parts; the training part makes 5 steps of at most 64.
    assert (measures.steps, measures.samples, measures.notes) == (5, 32, [])


def test_the_landscape_holds_losses_of_training(measures, runs):
    _, prepared = prepare_stored(runs[1])
    table = measures.tables["landscape"]
    assert table["step"].tolist() == [1, 3, 5]
    assert (table["loss_min"] <= table["loss_max"]).all()
    assert (table["gradient_change_min"] <= table["gradient_change_max"]).all()
    assert (table["smoothness"] > 0).all()
    # Ten classes at the start: the loss is near ln 10.
    assert table["loss"].iloc[0] == pytest.approx(np.log(10), rel=0.2)
    assert prepared.task.network.training


def test_the_first_step_is_as_long_as_the_learning_rate_says(measures):
    # The first step of SGD with momentum is lr times the gradient.
    first = measures.tables["landscape"].iloc[0]
    assert first["step_length"] == pytest.approx(0.1 * first["gradient_norm"], rel=1e-4)


def test_measuring_changes_nothing_of_the_run(runs):
    before = {path: path.read_bytes() for path in files_below(runs[1])}
    again = measure_run(runs[1], "torch", SHORT)
    assert {path: path.read_bytes() for path in files_below(runs[1])} == before
    third = measure_run(runs[1], "torch", SHORT)
    for name, table in again.tables.items():
        pd.testing.assert_frame_equal(table, third.tables[name])


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_centre_of_the_surface_is_the_best_state(measures, runs):
    _, prepared = load_run(runs[1])
    table = measures.tables["surface"]
    assert len(table) == 9
    part = prepared.parts.train
    rows = part.rows[torch.arange(32) * len(part.rows) // 32]  # spread over all
    network = prepared.task.network.eval()
    for layer in (network.hidden[0].norm, network.hidden[1].norm):
        layer.running_mean = layer.running_var = None
    with torch.no_grad():
        outputs = network(part.evaluation_inputs(rows))
        loss = prepared.task.loss(outputs, part.targets[rows])
    centre = table[(table["a"] == 0) & (table["b"] == 0)]
    assert centre["loss"].item() == pytest.approx(loss.item(), rel=1e-5)


def test_the_film_begins_with_the_initial_statistics(measures):
    film = measures.tables["film"]
    first = film[film["step"] == 0]
    assert (first["running_mean"] == 0).all()
    assert (first["running_var"] == 1).all()
    second = film[film["step"] == 1]
    assert sorted(film["step"].unique()) == [0, 1, 5]
    # One step with momentum 0.1 from 0 cannot reach the mean of the batches.
    ratio = second["running_mean"].abs().mean() / second["batch_mean"].abs().mean()
    assert 0.02 < ratio < 0.3


def test_a_run_without_running_statistics_says_that_it_has_no_film(runs):
    measures = measure_run(runs[0], "none", SHORT)
    assert "film" not in measures.tables
    assert measures.notes == [
        "none: its norm keeps no running mean and variance, so it has no film."
    ]


def test_a_diverged_run_has_pictures_up_to_its_end(make_run):
    folder = make_run("norm=none", "optimizer.lr=1e30")
    measures = measure_run(folder, "none", SHORT)
    assert measures.steps == 2
    assert "surface" not in measures.tables
    assert measures.tables["landscape"]["step"].tolist() == [1]
    assert any("at step 2, where its pictures end" in note for note in measures.notes)
    assert any("has no loss surface" in note for note in measures.notes)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["model=recurrent", "model.hidden=4"], {"depth"}),
        (["model=resnet", "model.depth=8", "norm=group"], {"film"}),
        (["norm=weight_norm"], {"film"}),
        (["norm=batch_renorm", "model.dropout=0.5"], set()),
        (["norm=noisy_batch"], set()),
        (["norm=evonorm_b0", "model=lenet5", "dataset.image_size=28"], {"film"}),
        (["dataset=diabetes", "model=tabular", "norm=custom"], set()),
        (["model.hidden=[]", "norm=none"], {"covariate_shift", "depth", "film"}),
    ],
)
def test_what_is_not_defined_is_missing_with_a_sentence(make_run, words, missing):
    folder = make_run(*words, "trainer.max_samples=100")
    measures = measure_run(folder, "arm", SHORT)
    every = {"landscape", "covariate_shift", "depth", "surface", "film"}
    assert set(measures.tables) == every - missing
    assert len(measures.notes) == len(missing)
    assert all(note.startswith("arm") for note in measures.notes)


# Larger grids are the same code; these are the norms in a network of two hidden layers.
@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_is_measured(make_run, norm):
    words = ["model.hidden=[16,16]", "trainer.max_samples=40", "dataset.batch_size=16"]
    folder = make_run(f"norm={norm}", *words)
    measures = measure_run(folder, norm, SHORTEST)
    film = {"film"} if norm in WITH_FILM else set()
    assert set(measures.tables) == {
        *("landscape", "covariate_shift", "depth", "surface"),
        *film,
    }
    for name, table in measures.tables.items():
        assert np.isfinite(table.select_dtypes("number")).all().all(), name


def test_settings_must_be_possible():
    with pytest.raises(ValueError, match="grid must be at least 3, got 2"):
        Settings(grid=2)
    message = "grid must be odd, so that the best state is a point of the loss surface"
    with pytest.raises(ValueError, match=f"{message}, got 4"):
        Settings(grid=4)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        Settings(steps=0)


def test_steps_are_evenly_spaced():
    assert measured_steps(9, 3) == [1, 5, 9]
    assert measured_steps(2, 25) == [1, 2]


def test_a_state_is_written_into_a_network():
    network = torch.nn.BatchNorm1d(1)
    load_state(network, {"weight": torch.tensor([3.0]), "running_var": torch.ones(1)})
    assert network.weight.item() == 3.0
    assert network.weight.requires_grad
