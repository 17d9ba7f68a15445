"""Loggers beside the run's own records."""

import csv
import json
import signal
from typing import ClassVar

import pytest
from omegaconf import OmegaConf
from pytorch_lightning.loggers.logger import DummyLogger

from normlab import loggers
from normlab.config.identity import configuration_directory, digest, run_folder
from normlab.endings import Interrupted
from normlab.loggers import LoggerFault
from normlab.training.checkpoints import Checkpoints
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = [
            "trainer.max_epochs=2",
            "progress=false",
            f"paths.outputs={tmp_path}",
            *overrides,
        ]
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def test_lightnings_csv_logger_gets_the_same_numbers(config):
    settings = config("logger=[csv]")
    run(settings)
    folder = run_folder(settings)
    own = (folder / "metrics.csv").read_text().splitlines()
    lightning = (folder / "csv" / "metrics.csv").read_text().splitlines()
    assert len(own) == len(lightning) == 3
    value = dict(zip(own[0].split(","), own[2].split(","), strict=True))["val/loss"]
    assert (
        dict(zip(lightning[0].split(","), lightning[2].split(","), strict=True))[
            "val/loss"
        ]
        == value
    )
    assert not list(folder.glob("events.out.*"))


@pytest.fixture
def interrupted(monkeypatch):
    """interrupted(config): a run killed between the loggers and the checkpoint.

    Loggers have the row of the third epoch, and no checkpoint has it.
    """

    def run_until_killed(config):
        original = Checkpoints.on_train_epoch_end

        def kill(self, trainer, task):
            if task.progress.epoch == 2:
                for logger in trainer.loggers:
                    logger.save()
                raise Interrupted(signal.SIGKILL)
            original(self, trainer, task)

        monkeypatch.setattr(Checkpoints, "on_train_epoch_end", kill)
        with pytest.raises(Interrupted):
            run(config)
        monkeypatch.undo()

    return run_until_killed


LONGER = ("trainer.max_epochs=4", "checkpoint.every_n_steps=5")


def test_lightnings_csv_logger_has_every_row_once_after_a_kill(
    config, interrupted, capsys
):
    settings = config("logger=[csv]", *LONGER)
    interrupted(settings)
    assert (
        len((run_folder(settings) / "csv" / "metrics.csv").read_text().splitlines())
        == 4
    )
    assert run(settings)["status"] == "finished"
    with open(run_folder(settings) / "csv" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    with open(run_folder(settings) / "metrics.csv") as file:
        own = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["val/loss"] for row in rows] == [row["val/loss"] for row in own]
    assert "deleted" not in capsys.readouterr().err


def test_an_optimizer_without_a_rate(config):
    settings = config("optimizer=adam")
    del settings["optimizer"]["lr"]
    assert run(settings)["status"] == "finished"
    assert "lr" not in loggers.hyperparameters(settings)


def test_a_logger_that_fails_at_the_end_is_named_and_the_result_kept(
    config, monkeypatch, capsys
):
    def refuse(*arguments):
        raise ConnectionError("the server is gone\nand more")

    monkeypatch.setattr(
        "pytorch_lightning.loggers.TensorBoardLogger.log_hyperparams", refuse
    )
    result = run(config())
    assert (result["status"], result["metrics"]["test/accuracy"] > 0.9) == (
        "finished",
        True,
    )
    assert capsys.readouterr().err == (
        "warning: logger=tensorboard did not record the final metrics, which are in "
        "result.json: "
        "ConnectionError: the server is gone\n"
    )


class Server(DummyLogger):
    """Stands for a logger that needs a server, which goes away."""

    def __init__(self, folder, name):
        super().__init__()

    def log_metrics(self, metrics, step=None):
        raise ConnectionError("the server is gone")


class Absent(DummyLogger):
    """Stands for a logger that looks for its server when it is first used."""

    def __init__(self, folder, name):
        super().__init__()

    @property
    def experiment(self):
        raise ConnectionError("no server")


class Flushing(DummyLogger):
    """Stands for a logger whose methods call each other."""

    saved: ClassVar = []

    def __init__(self, folder, name):
        super().__init__()

    def save(self):
        self.saved.append(len(self.saved))

    def finalize(self, status):
        self.save()


def test_methods_of_a_logger_may_call_each_other():
    logger = Flushing(None, "")
    loggers._name_failures(logger, "mine")
    logger.finalize("success")
    logger.save()
    assert Flushing.saved == [0, 1]


def with_logger(config, kind):
    settings = config()
    logger = {"mine": {"_target_": f"{__name__}.{kind}", "_partial_": True}}
    return settings | {"logger": logger, "trusted_packages": [__name__]}


def test_a_logger_that_fails_during_training_is_named_once(config, capsys):
    result = run(with_logger(config, "Server"))
    assert result["status"] == "finished"
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "of all epochs" in line] == [
        "warning: logger=mine did not record the metrics of all epochs, which are in "
        "metrics.csv: ConnectionError: the server is gone"
    ]


def test_a_run_whose_logger_cannot_be_used_has_no_result(config):
    settings = with_logger(config, "Absent")
    message = r"^logger=mine cannot be used \(ConnectionError: no server\): try it"
    with pytest.raises(LoggerFault, match=message):
        run(settings)
    assert not (run_folder(settings) / "result.json").exists()


def nothing(*arguments):
    """Takes the place of what SIGKILL leaves no time for."""


def mlflow_records(settings):
    """MLflow's client, and its records of the experiment of a run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run_folder(settings).parents[1] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits-mlp")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what MLflow calls
@pytest.mark.parametrize("status", ["KILLED", "RUNNING"])
def test_mlflow_goes_on_in_the_same_record(config, interrupted, monkeypatch, status):
    pytest.importorskip("mlflow")
    settings = config("logger=[mlflow]", *LONGER)
    with monkeypatch.context() as patch:
        if status == "RUNNING":  # nothing can be recorded of SIGKILL
            patch.setattr("pytorch_lightning.loggers.MLFlowLogger.finalize", nothing)
            patch.setattr(loggers, "log_interrupted", nothing)
        interrupted(settings)
    client, (record,) = mlflow_records(settings)
    assert record.info.status == status
    assert record.data.params["norm"] == "custom"
    assert record.data.params["changed"] == (
        "trainer.max_epochs=4 checkpoint.every_n_steps=5"
    )

    result = run(settings)
    _, (record,) = mlflow_records(settings)
    assert record.info.status == "FINISHED"
    assert record.data.params["status"] == "finished"
    assert record.data.metrics["final/test/accuracy"] == pytest.approx(
        result["metrics"]["test/accuracy"]
    )
    steps = [
        entry.step
        for entry in client.get_metric_history(record.info.run_id, "val/loss")
    ]
    assert sorted(set(steps)) == [1, 2, 3, 4]
    assert not list(run_folder(settings).rglob("hparams.yaml"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("has_trash", [False, True])
def test_a_record_that_was_deleted_from_mlflow_is_begun_anew(
    config, interrupted, has_trash
):
    pytest.importorskip("mlflow")
    settings = config("logger=[mlflow]", *LONGER)
    interrupted(settings)
    client, (record,) = mlflow_records(settings)
    if has_trash:
        client.delete_run(record.info.run_id)
    else:
        (run_folder(settings) / "mlflow_run_id").write_text("0" * 32)
    assert run(settings)["status"] == "finished"
    _, records = mlflow_records(settings)
    by_id = {each.info.run_id: each.info.status for each in records}
    by_id.pop(record.info.run_id, None)
    assert list(by_id.values()) == ["FINISHED"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_mlflow_record_whose_id_was_not_stored_is_found_again(
    config, tmp_path, monkeypatch
):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    other = f"sqlite:///{tmp_path / 'mlflow.db'}"
    copy = config(
        "logger=[mlflow]",
        f"logger.mlflow.tracking_uri={other}",
        f"paths.outputs={tmp_path / 'copy'}",
    )
    assert run(copy)["status"] == "finished"  # a record of the same run elsewhere
    original = MlflowClient.create_run

    def die_after(*arguments, **options):
        original(*arguments, **options)
        raise Interrupted(signal.SIGKILL)

    settings = config("logger=[mlflow]")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", die_after)
        patch.setattr(loggers, "log_interrupted", nothing)
        with pytest.raises(Interrupted):
            run(settings)
    _, records = mlflow_records(settings)
    (begun,) = [each for each in records if each.info.status == "RUNNING"]

    assert run(settings)["status"] == "finished"
    _, records = mlflow_records(settings)
    assert [each.info.status for each in records] == ["FINISHED"] * 2
    stored = (run_folder(settings) / "mlflow_run_id").read_text()
    assert stored == begun.info.run_id


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_killed_before_mlflow_has_its_record_begins_one(config, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    def die(*arguments, **options):
        raise Interrupted(signal.SIGKILL)

    settings = config("logger=[mlflow]")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", die)
        patch.setattr(loggers, "log_interrupted", nothing)
        with pytest.raises(Interrupted):
            run(settings)
    assert run(settings)["status"] == "finished"
    _, (record,) = mlflow_records(settings)
    assert record.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_share_one_mlflow_record(config):
    pytest.importorskip("mlflow")
    settings = config("logger=[mlflow]", "device=ddp", "device.accelerator=cpu")
    assert run(settings)["status"] == "finished"
    _, (record,) = mlflow_records(settings)
    assert record.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {"trainer.max_epochs": 2}),
        (
            ["optimizer.momentum=0.5", "optimizer.lr=1", "seed=3"],
            {
                "trainer.max_epochs": 2,
                "optimizer.momentum": 0.5,
            },
        ),
        (
            ["model.hidden=[8]", "norm.eps=1"],
            {
                "trainer.max_epochs": 2,
                "model.hidden": [8],
                "norm.eps": 1,
            },
        ),
        (["experiment=mlp_mnist_small"], {"trainer.max_epochs": 2}),
    ],
)
def test_settings_that_were_changed(config, words, changed):
    settings = config("logger=[]", *words)
    assert loggers.changed_settings(settings) == changed
    told = loggers.hyperparameters(settings)["changed"]
    assert sorted(told.split()) == sorted(f"{key}={changed[key]}" for key in changed)


def test_wandb_offline_has_a_record_for_every_run(config):
    wandb = pytest.importorskip("wandb")
    for seed in (0, 1):
        settings = config("logger=[wandb]", "logger.wandb.offline=true", f"seed={seed}")
        result = run(settings)
        assert wandb.run is None  # ended with the run
        (path,) = run_folder(settings).glob("wandb/offline-run-*/*.wandb")
        number = (run_folder(settings) / "wandb_run_id").read_text()
        assert path.name == f"run-{number}.wandb"
        assert (
            json.dumps(result["metrics"]["test/accuracy"]).encode() in path.read_bytes()
        )


def test_a_run_without_loggers_keeps_its_own_records(config):
    settings = config("logger=[]")
    assert run(settings)["status"] == "finished"
    assert (run_folder(settings) / "metrics.csv").is_file()


def test_loggers_are_no_part_of_the_result(config):
    assert (
        digest(config("logger=[]"))
        == digest(config("logger=[csv,tensorboard]"))
        == digest(config())
    )


@pytest.mark.parametrize("name", loggers.PACKAGES)
def test_a_missing_package_is_named_before_anything_is_written(
    name, config, monkeypatch, tmp_path
):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(
        ValueError,
        match=f"logger={name} needs the package {name}, .* pip install {name}",
    ):
        run(config(f"logger={name}"))
    assert list(tmp_path.iterdir()) == []


def test_every_file_names_a_function_of_the_module():
    files = sorted((configuration_directory() / "logger").glob("*.yaml"))
    assert [file.stem for file in files] == [
        "csv",
        "mlflow",
        "tensorboard",
        "wandb",
    ]
    for file in files:
        options = OmegaConf.load(file)[file.stem]
        assert options._target_ == f"normlab.loggers.{file.stem}"
        assert callable(getattr(loggers, file.stem))
