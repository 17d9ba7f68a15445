"""Loggers beside the run's own records."""

import pytest
from omegaconf import OmegaConf

from normlab import loggers
from normlab.config import configuration_directory, digest, run_folder
from normlab.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = ["trainer.max_epochs=2", "progress=false", f"paths.outputs={tmp_path}", *overrides]
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
    assert dict(zip(lightning[0].split(","), lightning[2].split(","), strict=True))["val/loss"] == value
    assert not list(folder.glob("events.out.*"))


def test_a_run_without_loggers_keeps_its_own_records(config):
    settings = config("logger=[]")
    assert run(settings)["status"] == "finished"
    assert (run_folder(settings) / "metrics.csv").is_file()


def test_loggers_are_no_part_of_the_result(config):
    assert digest(config("logger=[]")) == digest(config("logger=[csv,tensorboard]")) == digest(config())


@pytest.mark.parametrize("name", loggers.PACKAGES)
def test_a_missing_package_is_named_before_anything_is_written(name, config, monkeypatch, tmp_path):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=f"logger={name} needs the package {name}, .* pip install {name}"):
        run(config(f"logger={name}"))
    assert list(tmp_path.iterdir()) == []


def test_every_file_names_a_function_of_the_module():
    files = sorted((configuration_directory() / "logger").glob("*.yaml"))
    assert [file.stem for file in files] == ["aim", "csv", "mlflow", "tensorboard", "wandb"]
    for file in files:
        options = OmegaConf.load(file)[file.stem]
        assert options._target_ == f"normlab.loggers.{file.stem}"
        assert callable(getattr(loggers, file.stem))
