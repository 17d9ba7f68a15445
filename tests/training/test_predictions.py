"""The test predictions that a run stores."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from normlab.checksums import FILES, check_file
from normlab.compare.predictions import read_predictions
from normlab.config.identity import digest, run_folder
from normlab.evaluation.evaluate import load_run
from normlab.training.experiment import run
from normlab.training.predictions import (
    prediction_files,
    predictions_by_part,
    predictions_of,
)
from normlab.training.preparation import prepare
from normlab.training.scores import Outputs

# Lightning's, about its own logging.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = ("trainer.max_epochs=1", "progress=false", f"paths.outputs={tmp_path}")
        return OmegaConf.to_container(compose(*words, *overrides), resolve=True)

    return make


def test_classes_are_those_that_give_the_stored_accuracy(config):
    settings = config("trainer.max_samples=101")
    result = run(settings)
    folder = run_folder(settings)
    found = read_predictions(folder)
    stored = np.load(folder / "predictions.npz", allow_pickle=False)
    types = {name: stored[name].dtype for name in stored.files}
    assert types == {
        "target": np.int16,
        "predicted": np.int16,
        "score": np.float16,
        "rows": np.int32,
    }
    _, prepared = load_run(folder)
    part = prepared.parts.test
    assert len(found.rows) == 101
    rows = torch.tensor(found.rows).long()
    with torch.no_grad():
        outputs = prepared.task.network.eval()(part.evaluation_inputs(rows))
    score, classes = outputs.softmax(1).max(1)
    assert found.predicted.tolist() == classes.tolist()
    assert found.target.tolist() == part.targets[rows].tolist()
    assert stored["score"] == pytest.approx(score.numpy(), rel=1e-3)
    right = (found.predicted == found.target).mean()
    assert right == pytest.approx(result["metrics"]["test/accuracy"])

    check_file(folder / "predictions.npz", result)
    assert "predictions.npz" in result[FILES]


def test_values_are_those_that_give_the_stored_error(config):
    settings = config("dataset=diabetes", "model=tabular")
    result = run(settings)
    found = read_predictions(run_folder(settings))
    assert not found.are_classes
    assert found.target.dtype == found.predicted.dtype == np.float32
    error = found.predicted.astype(float) - found.target
    assert np.sqrt((error**2).mean()) == pytest.approx(result["metrics"]["test/rmse"])


def test_a_switch_leaves_them_out_and_names_the_same_run(config):
    without = config("scores.predictions=false")
    assert digest(without) == digest(config())
    result = run(without)
    folder = run_folder(without)
    assert not (folder / "predictions.npz").exists()
    assert "predictions.npz" not in result[FILES]
    assert read_predictions(folder) is None
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"


def test_numbers_of_very_many_classes_take_four_bytes():
    probabilities = torch.zeros(2, 2**15 + 1)
    probabilities[0, 2**15] = probabilities[1, 7] = 1.0
    found = predictions_of(probabilities, torch.tensor([2**15, 0]))
    assert found["predicted"].tolist() == [2**15, 7]
    assert found["target"].tolist() == [2**15, 0]
    assert (
        predictions_of(probabilities[:, 1:], torch.zeros(2))["predicted"].itemsize == 2
    )


def test_outputs_that_are_not_finite_are_not_stored(config, tmp_path):
    prepared = prepare(config())
    part = prepared.parts.test
    for bad, targets in (
        (torch.nan, part.targets[part.rows]),
        (0.0, torch.zeros(len(part), 3)),
    ):
        outputs = Outputs()
        outputs.add(torch.full((len(part), 10), bad), targets)
        predicted = predictions_by_part(prepared.task, {"test": outputs})
        assert prediction_files(prepared.stored, predicted, tmp_path) == {}
