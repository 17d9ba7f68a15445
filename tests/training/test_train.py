"""What training adds to a result: scores of the best state, and where it comes from."""

import csv
import json
import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.data.images import digits
from normlab.models import Swap
from normlab.results import write_files
from normlab.sharing import sharing
from normlab.training.classification import Classification
from normlab.training.experiment import run
from normlab.training.preparation import prepare
from normlab.training.train import (
    _divergence_in,
    as_yaml,
    origin_files,
    score_best,
    train,
)

# Lightning's, about its own logging.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = ("trainer.max_epochs=1", "progress=false", f"paths.outputs={tmp_path}")
        return OmegaConf.to_container(compose(*words, *overrides), resolve=True)

    return make


def recorded(settings, column):
    with open(run_folder(settings) / "metrics.csv") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def coloured_digits():
    """Three channels: with one, both orders of memory are the same."""
    data = digits()
    train_inputs, test_inputs = (
        each.repeat(1, 3, 1, 1) for each in (data.train_inputs, data.test_inputs)
    )
    return replace(data, train_inputs=train_inputs, test_inputs=test_inputs)


@pytest.mark.parametrize("value", [True, False])
def test_the_network_sees_images_in_the_order_of_its_weights(config, value):
    """In training and in scoring."""
    data = (
        "dataset.shape=[3,8,8]",
        "dataset.load._target_=training.test_train.coloured_digits",
    )
    settings = config("model=lenet5", f"device.channels_last={value}", *data)
    settings["trusted_packages"] = ["training"]
    prepared, seen = prepare(settings), set()
    prepared.task.network.register_forward_pre_hook(
        lambda network, inputs: seen.add(
            (
                network.training,
                inputs[0].is_contiguous(memory_format=torch.channels_last),
            )
        )
    )
    run_folder(settings).mkdir(parents=True)
    train(settings, prepared, run_folder(settings))
    assert seen == {(True, value), (False, value)}


def test_every_part_is_scored_with_the_state_that_is_given(config):
    prepared = prepare(config("norm=none", "model.hidden=[]"))
    network = prepared.task.network
    state = {name: torch.zeros_like(v) for name, v in network.state_dict().items()}
    bias = next(name for name, value in state.items() if value.ndim == 1)
    state[bias][3] = 1.0
    metrics = score_best(prepared, state)
    loss = {part: metrics.pop(f"{part}/loss") for part in ("train", "val", "test")}
    for part, data in prepared.parts.by_name.items():
        share = (data.targets[data.rows] == 3).double().mean().item()
        assert metrics.pop(f"{part}/accuracy") == pytest.approx(share)
        expected = math.log(9 + math.e) - share
        assert loss[part] == pytest.approx(expected, rel=1e-5)
    assert metrics == {}


def test_the_origin_of_a_run_is_stored_without_its_trial(config, tmp_path):
    settings = config("device=cpu")
    trial = {"trial": {"_target_": "a.b"}}
    write_files(origin_files(settings | trial, "cpu", tmp_path))
    stored = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert stored == settings | {"trial": None}
    assert list(stored) == list(settings)
    for plan in ("first", "second"):  # of a run that is resumed
        write_files(origin_files(settings | {"plan": plan}, "cpu", tmp_path))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["plan"] == "first"
    origin = json.loads((tmp_path / "environment.json").read_text())
    threads = torch.get_num_threads()
    expected = {"accelerator": "cpu", "name": "cpu", "threads": threads}
    assert origin["device"] == expected


def test_scores_that_are_not_finite_are_divergence():
    metrics = {"train/loss": 0.5, "val/loss": 0.25, "test/loss": math.inf}
    assert _divergence_in(metrics, 7) == {}
    assert _divergence_in(metrics | {"val/loss": math.nan}, 7) == {
        "status": "diverged",
        "reason": "val/loss of the best state is nan",
        "diverged_at_step": 7,
    }


class Began(Exception):
    """Training would begin here."""


def test_the_norms_of_a_library_are_shown_before_training(
    config, tmp_path, capsys, monkeypatch
):
    def fit(*arguments):
        raise Began

    monkeypatch.setattr("normlab.training.train.fit", fit)
    settings = config("model=torchvision", "model.name=squeezenet1_1")
    prepared = prepare(settings)
    for progress, tables in ((True, 1), (False, 0)):
        with pytest.raises(Began):
            train(settings | {"progress": progress}, prepared, tmp_path)
        error = capsys.readouterr().err
        assert error.count("features.0") == tables
        assert ("inserted" in error) == progress


def test_the_norms_of_a_library_are_stored_also_without_progress(config, tmp_path):
    settings = config()
    assert run(settings)["norm_report"] == []  # of a model that takes its norms itself
    prepared = prepare(settings)
    prepared.task.network.norm_report = [
        Swap("bn1", "replaced", "BatchNorm2d", "GroupNorm", "copied weight, bias")
    ]
    assert train(settings, prepared, tmp_path)["norm_report"] == [
        {
            "name": "bn1",
            "kind": "replaced",
            "old": "BatchNorm2d",
            "new": "GroupNorm",
            "why": "copied weight, bias",
        }
    ]


@pytest.mark.parametrize("devices", [1, 2])
def test_data_are_moved_to_the_device_by_the_process_that_trains(
    config, tmp_path, monkeypatch, devices
):
    """Several processes have data of their own."""
    moved = []
    settings = config("device.accelerator=cpu")
    settings["device"] |= {"devices": devices, "strategy": "ddp"}

    def stop(*arguments):
        moved.append(arguments[1])
        raise Began

    monkeypatch.setattr("normlab.training.train.fit", stop)
    monkeypatch.setattr("normlab.training.train.fit_in_processes", stop)
    prepared = prepare(settings)
    with pytest.raises(Began):
        train(settings, prepared, tmp_path)
    (argument,) = moved
    if devices == 1:
        assert argument.parts.train.inputs is prepared.parts.train.inputs
    else:
        assert argument == settings


def test_the_best_state_is_what_is_scored(config):
    settings = config("trainer.max_epochs=6", "optimizer.lr=0.5")
    result = run(settings)
    found = recorded(settings, "val/accuracy")
    assert result["metrics"]["val/accuracy"] == max(found)
    assert result["best_epoch"] == found.index(max(found)) + 1


def test_regression_reports_its_own_units(config):
    settings = config(
        "dataset=diabetes",
        "model=tabular",
        "optimizer=adam",
        "optimizer.lr=0.01",
        "trainer.max_epochs=15",
    )
    result = run(settings)
    assert set(result["metrics"]) == {
        f"{part}/{name}"
        for part in ("train", "val", "test")
        for name in ("loss", "rmse", "mae", "r2")
    }
    # The standard deviation of the target is 77.
    assert 40 < result["metrics"]["test/rmse"] < 80
    assert result["metrics"]["test/r2"] > 0.2
    losses = recorded(settings, "val/loss")
    assert result["best_epoch"] == losses.index(min(losses)) + 1


def test_divergence_is_an_outcome(config):
    settings = config("norm=none", "optimizer.lr=1000", "trainer.max_epochs=3")
    result = run(settings)
    assert result["status"] == "diverged"
    assert result["diverged_at_step"] > 0
    assert "training loss became" in result["reason"]
    assert run(settings) == result


def test_a_diverged_result_has_its_step_and_last_finite_values(config, monkeypatch):
    """The loss is 1, 2, 3, ... and NaN in the fourth step of the second epoch of 18."""
    losses = iter([*range(1, 22), math.nan, *range(100)])
    original = Classification.loss

    def loss(self, predictions, targets):
        value = original(self, predictions, targets)
        if self.network.training and torch.is_grad_enabled():
            return value * 0 + next(losses)
        return value

    monkeypatch.setattr(Classification, "loss", loss)
    settings = config("trainer.max_epochs=3", "statistics.every_n_epochs=0")
    result = run(settings)
    assert (result["status"], result["diverged_at_step"]) == ("diverged", 22)
    assert result["last_finite_loss"] == 21.0
    for key, value in result["metrics"].items():
        assert recorded(settings, key) == [pytest.approx(value)]
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(result["metrics"])


def test_scores_that_overflow_after_training_are_divergence(config, monkeypatch):
    """One step of an absurd size: its loss was finite, nothing after it is."""
    settings = config(
        "norm=none",
        "optimizer.lr=1e38",
        "trainer.max_epochs=1",
        "dataset.batch_size=1437",
    )
    result = run(settings)
    assert result["status"] == "diverged"
    assert (result["steps"], result["diverged_at_step"]) == (1, 1)
    assert result["reason"].startswith("train/loss of the best state is ")
    stored = json.loads((run_folder(settings) / "result.json").read_text())
    assert stored["metrics"]["val/loss"] is None


@pytest.mark.parametrize("norm", ["custom", "ghost"])
def test_scoring_the_test_part_after_every_epoch_changes_nothing_else(config, norm):
    words = (f"norm={norm}", "trainer.max_epochs=3", "optimizer.lr=0.5")
    plain = config(*words)
    scored = config(*words, "trainer.test_every_epoch=true")
    results = [run(settings) for settings in (plain, scored)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["scores"] == results[1]["scores"]
    for column in ("train/loss", "val/accuracy"):
        assert recorded(plain, column) == recorded(scored, column)
    found = recorded(scored, "test/accuracy")
    assert len(found) == 3
    best = results[1]["best_epoch"] - 1
    assert found[best] == results[1]["metrics"]["test/accuracy"]
    with pytest.raises(KeyError):
        recorded(plain, "test/accuracy")
    assert run_folder(plain) != run_folder(scored)


def test_a_run_that_diverges_has_no_test_metric(config):
    words = ("trainer.test_every_epoch=true", "optimizer.lr=1e30", "norm=none")
    result = run(config(*words))
    assert result["status"] == "diverged"
    assert not any(name.startswith("test/") for name in result["metrics"])


@pytest.mark.parametrize("context", [nullcontext, sharing])
def test_settings_are_written_as_one_document(context):
    with context():
        for seed in (3, 4):
            settings = {"model": {"hidden": [8, None], "x": "a: b"}, "seed": seed}
            assert as_yaml(settings) == yaml.safe_dump(settings, sort_keys=False)
