"""Every file of conf/experiment trains, on small data of the shape that it names, and says where it comes from."""

import csv

import pytest
import torch
import torchvision
from omegaconf import OmegaConf

from normlab.config import configuration_directory, run_folder
from normlab.data import parts
from normlab.data.arrays import Arrays
from normlab.data.blocks import num_batches
from normlab.experiment import run
from normlab.fit_check import resolve_image_size

FILES = sorted((configuration_directory() / "experiment").glob("*.yaml"))
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def small(shape, num_classes):
    """20 training samples of every class and one to test."""
    generator = torch.Generator().manual_seed(0)

    def images(count):
        return torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)

    labels = torch.arange(num_classes).repeat(20)
    return Arrays(
        images(len(labels)), labels, images(num_classes), torch.arange(num_classes), tuple(map(str, range(num_classes)))
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_experiment_trains(file, compose, tmp_path, monkeypatch):
    torch.save(torchvision.models.alexnet(num_classes=2).state_dict(), tmp_path / "weights.pth")
    words = [f"experiment={file.stem}", "norm=custom", "trainer.max_epochs=1", f"paths.outputs={tmp_path}"]
    weights = [f"model.pretrained={tmp_path / 'weights.pth'}"] if "alexnet" in file.stem else []
    config = OmegaConf.to_container(compose(*words, *weights, "progress=false"), resolve=True)
    dataset = config["dataset"]
    if dataset["root"] is not None:
        monkeypatch.setattr(parts, "build", lambda _: small(dataset["shape"], dataset["num_classes"] or 4))
    result = run(config)
    assert (result["status"], result["epochs"], result["num_norm_layers"] > 0) == ("finished", 1, True)
    rows = parts.load_parts(config, resolve_image_size(config)).train.rows
    assert result["steps"] == num_batches(len(rows), dataset["batch_size"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_header_says_what_it_needs(file):
    header = file.read_text().split("defaults:")[0]
    for word in ("# command    python train.py", "# duration ", "# expected ", "# protocol ", "# source "):
        assert word in header
    assert f"experiment={file.stem}" in header


@pytest.mark.parametrize("patience", [1, 100])
def test_the_best_whole_state_comes_back_however_training_ends(patience, compose, tmp_path):
    """Raw columns make the scores of batch norm's running statistics jump, so weights alone would not give them."""
    words = ["experiment=tabular_kfold", "norm=custom", "dataset.normalize=none", "trainer.max_epochs=6"]
    words += [f"trainer.patience={patience}", "progress=false", f"paths.outputs={tmp_path}"]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    result = run(config)
    with open(run_folder(config) / "metrics.csv") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
    assert (len(losses) < 6) == (patience == 1)
    assert result["metrics"]["val/loss"] == pytest.approx(min(losses), rel=1e-6)
    assert result["best_epoch"] == losses.index(min(losses)) + 1 < len(losses)
