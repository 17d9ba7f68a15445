"""Second scores of validation, which must leave no trace in the run."""

import csv
import shutil
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.blocks import Block
from normlab.endings import Interrupted
from normlab.evaluation.evaluate import evaluate_run
from normlab.norms import BatchNorm1d
from normlab.training.checkpoint_files import load
from normlab.training.experiment import run
from normlab.training.recalibrated_scores import recalibrated_scores
from training.kills import kill_after

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")

WITH_RUNNING_STATISTICS = [
    *("custom", "torch", "ghost", "batch_renorm", "noisy_batch", "instance_batch"),
    *("evonorm_b0", "moving_average", "weight_centralization", "batch_channel"),
    *("iterative_whitening", "switchable"),
]


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides, outputs="outputs"):
        words = (
            *("progress=false", "trainer.max_epochs=2", "trainer.max_samples=100"),
            *("dataset.batch_size=16", "model.hidden=[16,12]", "optimizer.lr=0.3"),
            f"paths.outputs={tmp_path / outputs}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def rows(settings):
    """The rows of `metrics.csv`, without the seconds."""
    with open(run_folder(settings) / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    for row in table:
        del row["seconds"]
    return table


def without_second_scores(table):
    kept = []
    for row in table:
        names = [name for name in row if not name.startswith("val_recalibrated/")]
        kept.append({name: row[name] for name in names})
    return kept


def second_scores(settings, name):
    return [float(row[f"val_recalibrated/{name}"]) for row in rows(settings)]


class Sums:
    """Scores by the sum of the outputs."""

    def __init__(self, network, world_size=1):
        self.network = network
        self.trainer = SimpleNamespace(world_size=world_size)

    def score(self, predictions, targets):
        return torch.stack([torch.tensor(float(len(targets))), predictions.sum()])

    def metrics_from(self, sums):
        return {"loss": sums[1] / sums[0]}


def block_of(*values):
    return Block(torch.tensor(values)[:, None], torch.zeros(len(values)), len(values))


def test_a_score_has_the_mean_statistics_of_the_batches():
    network = nn.Sequential(BatchNorm1d(1, eps=0.0), nn.Dropout(0.9))
    network(torch.tensor([[50.0], [90.0]]))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    batches = [block_of(0.0, 2.0), block_of(4.0, 8.0)]  # mean 3.5, variance 5
    validation = [block_of(3.5), block_of(3.5 + 20**0.5)]
    scores = recalibrated_scores(Sums(network), validation, lambda: batches)
    assert scores == {"val_recalibrated/loss": pytest.approx(1.0)}  # of 0 and 2
    assert all(layer.training for layer in network.modules())
    assert network[0].momentum == 0.1
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("norm", WITH_RUNNING_STATISTICS)
def test_a_run_with_second_scores_is_the_run_without_them(config, norm):
    words = (f"norm={norm}", "model.dropout=0.2")
    plain = config(*words)
    scored = config(*words, "trainer.recalibration_batches=3")
    results = [run(settings) for settings in (plain, scored)]
    for name in ("status", "metrics", "scores", "best_epoch", "steps", "cautions"):
        assert results[0][name] == results[1][name]
    assert without_second_scores(rows(scored)) == rows(plain)
    folders = [run_folder(settings) for settings in (plain, scored)]
    assert folders[0] != folders[1]
    for name in ("statistics.csv", "predictions.npz", "inputs.json", "mistakes.csv"):
        first, second = [(folder / name).read_bytes() for folder in folders]
        assert first == second
    first, second = [load(folder / "checkpoints/last.ckpt") for folder in folders]
    for name in ("network", "optimizer", "random", "train_sums"):
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)

    # They are what the best state gets if it is scored again.
    best = results[1]["best_epoch"] - 1
    again = evaluate_run(
        folders[1], statistics="recalibrated", num_batches=3, parts=["val"]
    )
    for name in ("loss", "accuracy"):
        assert second_scores(scored, name)[best] == again[f"val/{name}"]
    assert second_scores(scored, "loss") != [float(r["val/loss"]) for r in rows(plain)]


def test_a_number_that_is_predicted_has_second_scores_too(config):
    words = ("dataset=diabetes", "model=tabular", "optimizer.lr=0.01")
    settings = config(*words, "trainer.recalibration_batches=1000")
    run(settings)
    assert set(rows(settings)[0]) >= {f"val_recalibrated/{n}" for n in ("rmse", "r2")}


def test_other_runs_have_the_name_that_they_had(config):
    settings = config()
    del settings["trainer"]["recalibration_batches"]
    assert run_folder(settings) == run_folder(config())


def test_second_scores_choose_no_epoch(config):
    words = ("trainer.recalibration_batches=3", "trainer.monitor=val_recalibrated/loss")
    with pytest.raises(ValueError, match="monitor must be null or one of val/accuracy"):
        run(config(*words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("norm=none",), "a network in which no norm moves running statistics"),
        (("norm=layer",), "a network in which no norm moves running statistics"),
        (("norm=frozen",), "a network in which no norm moves running statistics"),
        (("norm=spectral",), "a network in which no norm moves running statistics"),
        (("norm.track_running_stats=false",), "a network in which no norm moves"),
        (("trainer.average=ema",), "a run that scores an average of its weights"),
        (("trainer.average=swa",), "a run that scores an average of its weights"),
    ],
)
def test_where_nothing_could_differ_they_are_refused(config, words, message):
    settings = config(*words, "trainer.recalibration_batches=16")
    with pytest.raises(ValueError, match=f"{message}.* got 16"):
        run(settings)
    assert not run_folder(settings).exists()


def test_an_average_of_the_optimizer_is_refused(config):
    pytest.importorskip("schedulefree", reason="it is not installed")
    settings = config("optimizer=schedule_free", "trainer.recalibration_batches=16")
    with pytest.raises(ValueError, match="a run that scores an average"):
        run(settings)


def test_a_run_that_was_stopped_has_the_same_second_scores(config, monkeypatch):
    options = ("checkpoint.every_n_steps=3", "trainer.recalibration_batches=2")
    options += ("norm=noisy_batch", "trainer.max_epochs=3")
    undisturbed = config(*options)
    run(undisturbed)
    settings = config(*options, outputs="stopped")
    kill_after(monkeypatch, 5)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    run(settings)
    assert rows(settings) == rows(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_processes_share_the_batches_of_second_scores(config, strategy):
    words = (f"device={strategy}", "device.accelerator=cpu", "dataset.split=random")
    words += ("norm.sync=true", "trainer.max_epochs=1")
    plain = config(*words)
    scored = config(*words, "trainer.recalibration_batches=3")
    results = [run(settings) for settings in (plain, scored)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert without_second_scores(rows(scored)) == rows(plain)
    # With synchronized norms, as of one process, but for the order of sums and for
    # the statistics of the batch that both processes see as one.
    words = ("dataset.split=random", "trainer.max_epochs=1")
    alone = config(*words, "trainer.recalibration_batches=3")
    run(alone)
    expected = pytest.approx(second_scores(alone, "loss"), rel=0.02)
    assert second_scores(scored, "loss") == expected


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs"
)
def test_a_compiled_network_is_scored_without_compiling_it_again(config):
    words = ("device.compile=true", "model.hidden=[8]")
    plain = config(*words)
    scored = config(*words, "trainer.recalibration_batches=3")
    results = [run(settings) for settings in (plain, scored)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert without_second_scores(rows(scored)) == rows(plain)
    eager = config("model.hidden=[8]", "trainer.recalibration_batches=3")
    run(eager)
    expected = pytest.approx(second_scores(eager, "loss"), rel=1e-3)
    assert second_scores(scored, "loss") == expected
