"""What a finished run stores of its best state besides the metrics."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from normlab.compare import load_runs
from normlab.config.identity import run_folder
from normlab.evaluation.evaluate import load_run
from normlab.loggers import TENSORBOARD_GROUP, TENSORBOARD_SCORES
from normlab.metrics import SCORES
from normlab.results import all_metrics
from normlab.training.experiment import run
from normlab.training.final_scores import (
    Mistakes,
    find_mistakes,
    mistake_files,
    score_outputs,
)
from normlab.training.predictions import predictions_by_part
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


def test_a_run_stores_the_scores_of_its_best_state(config):
    settings = config("scores.mistakes=9")
    result = run(settings)
    folder = run_folder(settings)
    assert (
        json.loads((folder / "result.json").read_text())["scores"] == result["scores"]
    )
    _, prepared = load_run(folder)
    part = prepared.parts.test
    with torch.no_grad():
        outputs = prepared.task.network.eval()(part.evaluation_inputs(part.rows))
    classes = part.targets[part.rows]
    scores = result["scores"]["test"]

    matrix = np.zeros((10, 10), dtype=int)
    np.add.at(matrix, (classes, outputs.argmax(1)), 1)
    assert scores["confusion_matrix"] == matrix.tolist()
    assert scores["micro_f1"] == pytest.approx(result["metrics"]["test/accuracy"])
    assert scores["nll"] == pytest.approx(result["metrics"]["test/loss"], rel=1e-5)
    assert result["scores"].keys() == {"val", "test"}

    # The mistakes: the most confident first, and the pictures of the same images.
    mistakes = pd.read_csv(folder / "mistakes.csv", dtype={"target": str})
    mistakes = mistakes[mistakes["part"] == "test"]
    confidence, predicted = outputs.softmax(1).max(1)
    wrong = (predicted != classes).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:9]
    assert mistakes["row"].tolist() == part.rows[worst].tolist()
    assert mistakes["target"].astype(int).tolist() == classes[worst].tolist()
    assert mistakes["confidence"].tolist() == pytest.approx(confidence[worst].tolist())
    drawn = np.array(Image.open(folder / "mistakes_test.png"))
    tile = drawn[8 : 8 + 112, 8 : 8 + 112][7::14, 7::14, 0]
    assert tile.tolist() == part.inputs[part.rows[worst[0]], 0].tolist()

    # TensorBoard has the numbers and the images.
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    (event,) = events.Scalars(f"{TENSORBOARD_SCORES}/test/auroc")
    assert event.value == pytest.approx(scores["auroc"])
    names = [
        f"{kind} of {part}"
        for kind in ("confusion matrix", "mistakes")
        for part in ("val", "test")
    ]
    assert {f"{TENSORBOARD_GROUP}/{name}" for name in names} == set(
        events.Tags()["images"]
    )


def test_scores_are_columns_of_a_comparison(config, tmp_path):
    result = run(config())
    (row,) = load_runs(tmp_path).to_dict("records")
    for part in ("val", "test"):
        for name in SCORES:
            assert row[f"{part}/{name}"] == result["scores"][part][name]
    assert row["test/accuracy"] == result["metrics"]["test/accuracy"]
    for name in ("processor_seconds", "peak_memory_mib"):
        assert row[name] == result[name] > 0
    assert row["peak_device_memory_mib"] == result["peak_device_memory_mib"]


def test_a_regression_lists_its_largest_errors_and_has_no_classes(config):
    settings = config("dataset=diabetes", "model=tabular", "scores.mistakes=3")
    result = run(settings)
    assert result["scores"] == {}
    assert all_metrics(result) == result["metrics"]
    with open(run_folder(settings) / "mistakes.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == ["val"] * 3 + ["test"] * 3
    sizes = [abs(float(row["target"]) - float(row["prediction"])) for row in rows]
    assert sizes[:3] == sorted(sizes[:3], reverse=True)
    assert sizes[3:] == sorted(sizes[3:], reverse=True)
    assert not list(run_folder(settings).glob("*.png"))


def outputs_of(logits, targets):
    outputs = Outputs()
    outputs.add(logits, targets)
    return {"test": outputs}


def test_the_matrix_of_very_many_classes_is_left_to_its_image(
    config, tmp_path, monkeypatch
):
    monkeypatch.setattr("normlab.training.final_scores.LARGEST_MATRIX", 9)
    prepared = prepare(config())
    part = prepared.parts.test
    targets = part.targets[part.rows]
    logits = 9 * torch.eye(10)[targets]
    outputs = outputs_of(logits, targets)
    scores, images = score_outputs(prepared.task, prepared.stored, outputs)
    assert scores["test"]["confusion_matrix"] is None
    assert scores["test"]["macro_f1"] == 1.0
    assert list(images) == ["confusion matrix of test"]
    # There is no mistake.
    predicted = predictions_by_part(prepared.task, outputs)
    mistakes = find_mistakes(prepared.stored, predicted, 5)
    assert mistakes == ([], {})
    assert mistake_files(mistakes, tmp_path) == {}


def test_the_table_of_mistakes_holds_no_formulas_for_spreadsheets(tmp_path):
    rows = [{"target": "=1+1", "+column": "-0.5"}, {"target": "-dog", "confidence": 1}]
    (content,) = mistake_files(Mistakes(rows, {}), tmp_path).values()
    lines = ["target,'+column,confidence", "'=1+1,-0.5,", "'-dog,,1", ""]
    assert content.decode().split("\n") == lines


def test_outputs_that_are_not_finite_have_no_scores(config):
    prepared = prepare(config())
    part = prepared.parts.test
    logits = torch.full((len(part), 10), torch.nan)
    outputs = outputs_of(logits, part.targets[part.rows])
    assert score_outputs(prepared.task, prepared.stored, outputs) == ({}, {})
    predicted = predictions_by_part(prepared.task, outputs)
    assert find_mistakes(prepared.stored, predicted, 5) == ([], {})


def test_the_best_epoch_may_be_that_of_any_score(config):
    settings = config(
        "trainer.max_epochs=4", "trainer.monitor=val/nll", "optimizer.lr=1"
    )
    result = run(settings)
    with open(run_folder(settings) / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    recorded = [float(row["val/nll"]) for row in rows]
    assert result["best_epoch"] == recorded.index(min(recorded)) + 1
    best = rows[result["best_epoch"] - 1]
    for name in SCORES:
        found = result["scores"]["val"][name]
        assert found == pytest.approx(float(best[f"val/{name}"]), rel=1e-5)


def test_training_stops_early_by_any_score(config):
    words = ("trainer.monitor=val/auroc", "trainer.patience=1", "optimizer.lr=1e-9")
    settings = config("trainer.max_epochs=9", *words, "norm=none")
    assert run(settings)["epochs"] < 9
    worse = ("trainer.monitor_mode=min", "trainer.monitor=val/accuracy")
    settings = config("trainer.max_epochs=3", *worse)
    result = run(settings)
    with open(run_folder(settings) / "metrics.csv") as file:
        recorded = [float(row["val/accuracy"]) for row in csv.DictReader(file)]
    assert result["best_epoch"] == recorded.index(min(recorded)) + 1
