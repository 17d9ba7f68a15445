"""Every file of conf/experiment trains on small data and names its origin."""

import csv

import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from small_data import write_small_data

from normlab.config.identity import configuration_directory, run_folder
from normlab.data import parts
from normlab.data.batches import num_batches
from normlab.training.experiment import run
from normlab.training.fit_check import resolve_image_size

FILES = sorted((configuration_directory() / "experiment").glob("*.yaml"))
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small data in the published layouts, and AlexNet's weights."""
    folder = tmp_path_factory.mktemp("data")
    write_small_data(folder)
    convolutions = {
        f"features.{key}": value
        for key, value in torchvision.models.AlexNet().features.state_dict().items()
    }
    torch.save(convolutions, folder / "weights.pth")
    return folder


@pytest.mark.parametrize("norm", ["none", "custom"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((file.stem, ()) for file in FILES),
        (
            "alexnet_tiny_imagenet",
            (
                "model.freeze=null",
                "dataset.augment.resized_crop=[0.08,1]",
                "model.hidden=[16]",
            ),
        ),
        (
            "tabular_kfold",
            ("dataset=csv", "dataset.target=price", "dataset.normalize=none"),
        ),
        ("tabular_kfold", ("dataset=jh_simple", "dataset.fold=4")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_the_experiment_trains(name, words, norm, data, compose, tmp_path, monkeypatch):
    monkeypatch.setattr(
        torchvision.datasets.cifar, "check_integrity", lambda *_: True
    )  # of the real files
    config = compose(
        f"experiment={name}",
        *words,
        f"norm={norm}",
        "trainer.max_epochs=1",
        "progress=false",
    )
    roots = {
        "tiny_imagenet": data / "tiny-imagenet-200",
        "csv": data / "table.csv",
        "diabetes": None,
    }
    root = roots.get(config.dataset.name, data)
    config.dataset.root, config.paths.outputs = root and str(root), str(tmp_path)
    if "alexnet" in name:
        config.model.pretrained = str(data / "weights.pth")
    if "transfer" in name:
        config.model.pretrained, config.dataset.image_size = False, 32
    config = OmegaConf.to_container(config, resolve=True)
    result = run(config)
    assert (result["status"], result["epochs"], result["num_norm_layers"] > 0) == (
        "finished",
        1,
        norm == "custom",
    )
    rows = parts.load_parts(config, resolve_image_size(config)).train.rows
    assert result["steps"] == num_batches(len(rows), config["dataset"]["batch_size"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_header_says_what_it_needs(file):
    header = file.read_text().split("defaults:")[0]
    for word in (
        "# command    python train.py",
        "# duration ",
        "# expected ",
        "# protocol ",
        "# source ",
    ):
        assert word in header
    assert f"experiment={file.stem}" in header


@pytest.mark.parametrize("patience", [1, 100])
def test_the_best_whole_state_comes_back_however_training_ends(
    patience, compose, tmp_path
):
    """The best epoch is restored with its running statistics, not its weights alone.

    On raw columns the scores jump with the running statistics.
    """
    words = [
        "experiment=tabular_kfold",
        "norm=custom",
        "dataset.normalize=none",
        "trainer.max_epochs=6",
    ]
    words += [
        f"trainer.patience={patience}",
        "progress=false",
        f"paths.outputs={tmp_path}",
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    result = run(config)
    with open(run_folder(config) / "metrics.csv") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
    assert (len(losses) < 6) == (patience == 1)
    assert result["metrics"]["val/loss"] == pytest.approx(min(losses), rel=1e-6)
    assert result["best_epoch"] == losses.index(min(losses)) + 1 < len(losses)
