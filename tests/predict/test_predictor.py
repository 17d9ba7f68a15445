"""A stored run predicts what it predicted in training, without its data set."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from normlab.data import images
from normlab.evaluation.evaluate import prepare_stored
from normlab.predict.predictor import load_predictor

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def parts_of(folder):
    _, prepared = prepare_stored(folder)
    return prepared.parts.test


def test_a_run_predicts_what_it_was_scored_by(digits, monkeypatch):
    part = parts_of(digits)
    monkeypatch.setattr(images, "digits", None)  # the data set is not needed
    predictor = load_predictor(digits)
    probabilities = predictor.predict(part.inputs[part.rows])
    assert torch.allclose(probabilities.sum(1), torch.ones(len(part)))
    accuracy = probabilities.argmax(1).eq(part.targets[part.rows]).float().mean()
    metrics = json.loads((digits / "result.json").read_text())["metrics"]
    assert accuracy.item() == pytest.approx(metrics["test/accuracy"])
    assert predictor.classes == tuple("0123456789")
    assert not predictor.network.training


def test_a_regression_predicts_in_the_units_of_its_target(table):
    _, folder = table("price")
    part = parts_of(folder)
    predictor = load_predictor(folder)
    values = predictor.predict(part.inputs[part.rows])
    offset = predictor.inputs.target["offset"]
    errors = values - offset - part.targets[part.rows]
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    rmse = errors.double().square().mean().sqrt().item()
    assert rmse == pytest.approx(metrics["test/rmse"], rel=1e-4)
    assert predictor.classes == ()
    assert 1900 < values.mean().item() < 2100


def test_targets_that_float32_cannot_hold_keep_their_digits(digits, predictor_of):
    predictor = predictor_of(digits)
    target = {"mean": 0.0, "std": 1.0, "offset": 1.6e9}
    changed = {"inputs": predictor.inputs.__dict__ | {"target": target}}
    inputs = type(predictor.inputs)(**changed["inputs"])
    shifted = type(predictor)(predictor.config, inputs, predictor.task, ())
    part = parts_of(digits)
    plain = predictor.predict(part.inputs[:3])
    found = shifted.predict(part.inputs[:3])
    assert torch.equal(found, plain.double() + 1.6e9)


@pytest.fixture
def older(digits, tmp_path):
    """The run as an earlier version stored it."""
    folder = Path(shutil.copytree(digits, tmp_path / digits.name))
    (folder / "inputs.json").unlink()
    return folder


def test_an_older_run_is_rebuilt_from_its_data_set(older, digits, predictor_of, capsys):
    sample = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    found = load_predictor(older).predict(sample)
    assert torch.equal(found, predictor_of(digits).predict(sample))
    assert "has no inputs.json, since an earlier version" in capsys.readouterr().err


def test_an_older_run_without_its_data_set_says_what_is_missing(older):
    path = older / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["dataset"]["load"] = {
        "_target_": "normlab.data.images.mnist",
        "root": {"not": "there"},
    }
    path.write_text(yaml.safe_dump(config))
    result = json.loads((older / "result.json").read_text())
    for key in ("files", "checksum"):
        del result[key]
    (older / "result.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=r"has no inputs\.json.*and its data set"):
        load_predictor(older)


def test_inputs_that_were_changed_after_the_run_are_refused(digits, tmp_path):
    folder = Path(shutil.copytree(digits, tmp_path / digits.name))
    path = folder / "inputs.json"
    path.write_text(path.read_text().replace('"num_outputs": 10', '"num_outputs": 9'))
    with pytest.raises(ValueError, match=r"inputs\.json was changed after the run"):
        load_predictor(folder)


def test_an_unfinished_run_is_refused(digits, tmp_path):
    folder = Path(shutil.copytree(digits, tmp_path / digits.name))
    (folder / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ValueError, match=r"best\.ckpt cannot be read"):
        load_predictor(folder)


@pytest.mark.parametrize("loss", ["MultiMarginLoss", "CrossEntropyLoss"])
def test_a_run_with_a_loss_by_name_predicts(train, loss):
    target = f"+task.loss._target_=torch.nn.{loss}"
    folder = train("model=mlp", "dataset=digits", "norm=custom", target)
    part = parts_of(folder)
    probabilities = load_predictor(folder).predict(part.inputs[part.rows])
    accuracy = probabilities.argmax(1).eq(part.targets[part.rows]).float().mean()
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert accuracy.item() == pytest.approx(metrics["test/accuracy"])
