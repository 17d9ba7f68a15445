"""Whole runs that report to a trial."""

import csv

import pytest
import yaml
from omegaconf import OmegaConf
from optuna.distributions import FloatDistribution

from normlab.config.identity import digest, run_folder
from normlab.search.definition import define
from normlab.search.options import Options
from normlab.search.storage import Search
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
# No accuracy reaches 2: everything is pruned after its second epoch.
AT_TWO = {
    "_target_": "optuna.pruners.ThresholdPruner",
    "lower": 2.0,
    "n_warmup_steps": 2,
}


@pytest.fixture
def config(compose, tmp_path):
    def make(outputs, *overrides):
        words = [
            "trainer.max_epochs=4",
            "model.dropout=0.2",
            "progress=false",
            f"paths.outputs={tmp_path / outputs}",
        ]
        return OmegaConf.to_container(compose(*words, *overrides), resolve=True)

    return make


@pytest.fixture
def search(tmp_path):
    def begin(pruner):
        options = Options(
            n_trials=1,
            n_jobs=None,
            seeds=[0],
            metric=None,
            direction=None,
            study_name=None,
            storage="journal",
            sampler={"_target_": "optuna.samplers.RandomSampler"},
            pruner=pruner,
        )
        space = {"optimizer.lr": FloatDistribution(0.01, 0.1)}
        definition = define(space, "val/accuracy", "maximize", [0], {})
        return Search(tmp_path / "study", "a search", options, space, definition)

    return begin


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def same_files(one, two):
    best = [
        (folder / "checkpoints" / "best.ckpt").read_bytes() for folder in (one, two)
    ]
    return rows(one) == rows(two) and best[0] == best[1]


def test_a_run_that_is_not_pruned_has_the_same_result(config, search):
    alone, watched = config("alone"), config("watched")
    run(alone)
    with search({"_target_": "optuna.pruners.MedianPruner"}) as searching:
        trial = searching.take()
        assert digest(watched | {"trial": searching.callback_config(trial)}) == digest(
            alone
        )
        assert (
            run(watched | {"trial": searching.callback_config(trial)})["status"]
            == "finished"
        )
        reported = searching.trials[0].intermediate_values
    assert same_files(run_folder(alone), run_folder(watched))
    assert reported == {
        int(row["epoch"]): float(row["val/accuracy"])
        for row in rows(run_folder(watched))
    }


def test_a_pruned_run_can_be_resumed_to_the_same_bits(config, search):
    alone, watched = config("alone"), config("watched")
    run(alone)
    folder = run_folder(watched)
    with search(AT_TWO) as searching:
        trial = searching.take()
        result = run(watched | {"trial": searching.callback_config(trial)})
        assert (result["status"], result["reason"], result["metrics"]) == (
            "pruned",
            "pruned after epoch 2",
            {},
        )
        assert len(rows(folder)) == 2
        assert not (folder / "result.json").exists()
        assert yaml.safe_load((folder / "config.yaml").read_text()) == watched
        # The same command after a kill, before the outcome was recorded.
        again = run(watched | {"trial": searching.callback_config(trial)})
        assert again["reason"] == "pruned after epoch 3"
        assert list(searching.trials[0].intermediate_values) == [1, 2, 3]
    assert run(watched)["status"] == "finished"
    assert same_files(run_folder(alone), folder)


def test_a_run_is_not_pruned_after_its_last_epoch(config, search):
    with search(AT_TWO) as searching:
        settings = config("watched", "trainer.max_epochs=2") | {
            "trial": searching.callback_config(searching.take())
        }
        assert run(settings)["status"] == "finished"


def test_a_run_that_stops_early_is_not_pruned(config, search):
    with search(AT_TWO) as searching:
        overrides = ("trainer.patience=1", "optimizer.lr=1e-9", "model.dropout=0")
        settings = config("watched", *overrides) | {
            "trial": searching.callback_config(searching.take())
        }
        assert run(settings)["epochs"] == 2


@pytest.mark.slow
def test_all_processes_of_a_run_stop(config, search):
    with search(AT_TWO) as searching:
        settings = config("watched", "device=ddp", "device.devices=2", "norm.sync=true")
        result = run(settings | {"trial": searching.callback_config(searching.take())})
        assert (result["status"], result["reason"]) == (
            "pruned",
            "pruned after epoch 2",
        )
        assert list(searching.trials[0].intermediate_values) == [1, 2]
