"""Runs that end by steps or by time, within an epoch of 18 steps."""

import csv
import signal

import pytest
import torch
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.endings import Interrupted
from normlab.training import limits, tasks
from normlab.training.checkpoint_files import load
from normlab.training.checkpoints import Checkpoints
from normlab.training.experiment import run
from normlab.training.limits import epochs_to_train
from training.kills import kill_after

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides, outputs="outputs"):
        words = (
            "progress=false",
            "trainer.max_epochs=4",
            f"paths.outputs={tmp_path / outputs}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def rows(settings):
    with open(run_folder(settings) / "metrics.csv") as file:
        return list(csv.DictReader(file))


def last_network(settings):
    return load(run_folder(settings) / "checkpoints" / "last.ckpt")["network"]


@pytest.mark.parametrize(
    ("options", "steps_per_epoch", "epochs"),
    [
        ({"max_epochs": 5, "max_steps": None}, 10, 5),
        ({"max_epochs": 5, "max_steps": 11}, 10, 2),
        ({"max_epochs": 5, "max_steps": 10}, 10, 1),
        ({"max_epochs": 5, "max_steps": 100}, 10, 5),
    ],
)
def test_what_comes_first_ends_a_run(options, steps_per_epoch, epochs):
    assert epochs_to_train(options, steps_per_epoch) == epochs


@pytest.mark.parametrize(("max_steps", "epochs"), [(7, 1), (18, 1), (25, 2)])
def test_a_run_makes_so_many_steps_and_is_scored(config, max_steps, epochs):
    settings = config(f"trainer.max_steps={max_steps}")
    result = run(settings)
    assert result["status"] == "finished"
    assert result["ended_by"] == "max_steps"
    assert (result["steps"], result["epochs"]) == (max_steps, epochs)
    assert result["samples_per_second"] > 0
    steps = [int(row["step"]) for row in rows(settings)]
    assert steps == [18, max_steps][-epochs:]
    statistics = (run_folder(settings) / "statistics.csv").read_text()
    assert f"\n{epochs},{max_steps}," in statistics


def test_the_steps_are_those_of_a_longer_run(config):
    short = config("trainer.max_steps=36")
    long = config("trainer.max_epochs=2")
    run(short)
    result = run(long)
    assert result["ended_by"] == "max_epochs"
    expected = last_network(long)
    for name, value in last_network(short).items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize("after_blocks", [1, 5])
def test_a_run_by_steps_that_was_killed_ends_in_the_same_bits(
    config, monkeypatch, after_blocks
):
    options = ("trainer.max_steps=25", "checkpoint.every_n_steps=5")
    options += ("dataset.batch_size=32", "trainer.accumulate=2")
    undisturbed = config(*options)
    expected = run(undisturbed)
    settings = config(*options, outputs="interrupted")
    kill_after(monkeypatch, after_blocks)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    result = run(settings)
    assert result["metrics"] == expected["metrics"]
    assert result["ended_by"] == "max_steps"
    for name, value in last_network(settings).items():
        assert torch.equal(value, last_network(undisturbed)[name])
    columns = [{**row, "seconds": ""} for row in rows(settings)]
    assert columns == [{**row, "seconds": ""} for row in rows(undisturbed)]


def test_why_a_run_ended_survives_a_kill_before_its_scores(config, monkeypatch):
    settings = config("trainer.max_steps=7")
    original = Checkpoints.on_train_end

    def kill(self, *arguments):
        original(self, *arguments)
        raise Interrupted(signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "on_train_end", kill)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    result = run(settings)
    assert (result["ended_by"], result["steps"]) == ("max_steps", 7)


class Clock:
    """Every look at the clock takes a tenth of a second."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 0.1
        return self.now

    perf_counter = monotonic


def test_a_run_by_time_ends_within_a_block_and_is_scored(config, monkeypatch):
    """One look when training starts, and one after every step."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    monkeypatch.setattr(tasks, "time", clock)
    settings = config("trainer.max_seconds=0.45")
    result = run(settings)
    monkeypatch.undo()
    assert result["status"] == "finished"
    assert result["ended_by"] == "max_seconds"
    assert 0 < result["steps"] < 18
    (row,) = rows(settings)
    assert int(row["step"]) == result["steps"]
    reference = config(f"trainer.max_steps={result['steps']}")
    assert run(reference)["metrics"] == result["metrics"]


def test_a_limit_that_is_not_reached_changes_nothing(config):
    settings = config("trainer.max_epochs=1", "trainer.max_seconds=1000")
    result = run(settings)
    assert result["ended_by"] == "max_epochs"
    assert result["metrics"] == run(config("trainer.max_epochs=1"))["metrics"]


def test_a_run_without_improvement_ended_by_patience(config):
    result = run(config("optimizer.lr=1e-12", "trainer.patience=1"))
    assert (result["ended_by"], result["epochs"]) == ("patience", 2)


def test_a_run_that_diverged_was_ended_by_no_setting(config):
    result = run(config("optimizer.lr=1e30", "norm=none"))
    assert result["status"] == "diverged"
    assert result["ended_by"] is None


def test_a_last_block_that_time_cut_short_is_told(config, monkeypatch):
    """On digits an epoch is one block, here the last one."""
    clock = Clock()
    monkeypatch.setattr(limits, "time", clock)
    monkeypatch.setattr(tasks, "time", clock)
    result = run(config("trainer.max_epochs=1", "trainer.max_seconds=0.45"))
    monkeypatch.undo()
    assert 0 < result["steps"] < 18
    assert result["ended_by"] == "max_seconds"


def test_a_run_that_a_callback_ended_says_so(config):
    result = run(
        config(
            "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
            "+callbacks.stop.monitor=val/loss",
            "+callbacks.stop.patience=1",
            "optimizer.lr=1e-12",
        )
    )
    assert (result["ended_by"], result["epochs"]) == ("callback", 2)
