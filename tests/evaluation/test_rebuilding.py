"""A stored run is built again where its devices are missing, and after upgrades."""

import shutil
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from normlab.checksums import FILES, file_digests
from normlab.config.identity import run_folder
from normlab.evaluation.evaluate import evaluate_run, stored_parts
from normlab.evaluation.inspection import inspect_run
from normlab.evaluation.rebuilding import device_here, rebuildable
from normlab.predict.predictor import load_predictor
from normlab.results import read_result, write_result
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def no_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


@pytest.fixture
def plain(compose):
    """plain(*overrides): the resolved configuration."""

    def make(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    return make


@pytest.fixture
def lines(monkeypatch):
    """What is printed."""
    printed = []
    monkeypatch.setattr("normlab.evaluation.rebuilding.print_once", printed.append)
    return printed


def test_devices_that_are_missing_are_named(plain, no_gpus, lines):
    own = plain()["device"]
    assert device_here(own) == own
    options = own | {"accelerator": "cuda", "devices": 4, "strategy": "ddp"}
    here = options | {"accelerator": "auto", "devices": 1, "strategy": "auto"}
    assert device_here(options) == here
    assert lines == [
        "the run trained on other devices (device=cuda needs a cuda device and torch "
        "finds none here); its network runs on the CPU"
    ]


def test_fewer_devices_are_no_missing_accelerator(plain, monkeypatch, lines):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    options = plain()["device"] | {"accelerator": "cuda", "devices": 4}
    assert device_here(options)["devices"] == 1
    assert lines == [
        "the run trained on other devices (device.devices=4 needs as many cuda devices "
        "and torch finds 1); its network runs on one cuda device"
    ]


def synchronized_on_gpus(folder, copy):
    """A copy of a run, as if `torch.nn.SyncBatchNorm` had trained it on four GPUs."""
    shutil.copytree(folder, copy)
    path = copy / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["norm"]["sync"] = True
    config["device"] |= {"accelerator": "cuda", "devices": 4, "strategy": "ddp"}
    path.write_text(yaml.safe_dump(config))
    write_result(copy, read_result(copy) | {FILES: file_digests(copy)})
    return copy


def test_a_run_that_synchronized_on_gpus_is_read_without(plain, no_gpus, tmp_path):
    words = ("norm=torch", "trainer.max_epochs=1", "progress=false")
    config = plain(*words, f"paths.outputs={tmp_path / 'outputs'}")
    metrics = run(config)["metrics"]
    own = run_folder(config)
    folder = synchronized_on_gpus(own, Path(tmp_path, own.name))
    assert evaluate_run(folder) == metrics
    assert [state.kind for state in inspect_run(folder, 1)] == ["BatchNorm1d"] * 2
    assert len(stored_parts(folder).test) > 0
    expected = load_predictor(own).network.state_dict()
    found = load_predictor(folder).network.state_dict()
    assert expected.keys() == found.keys()
    assert all(value.equal(found[name]) for name, value in expected.items())


def test_earlier_versions_rescaled_no_inputs(plain):
    words = ("model=torchvision", "model.name=googlenet", "dataset=mnist")
    config = plain(*words, "model.pretrained=weights.pth")
    options = rebuildable(config)["model"]["options"]
    assert options == {"transform_input": False}
    later = plain(*words, "+model.options.transform_input=true")
    assert rebuildable(later)["model"] == later["model"]
    other = plain("model=torchvision")
    assert rebuildable(other)["model"] == other["model"]
