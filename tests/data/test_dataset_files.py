"""Every file of conf/dataset composes, is allowed and fits its function."""

import inspect

import pytest
import yaml
from hydra.utils import get_object
from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory
from normlab.config.rules import check

FILES = sorted((configuration_directory() / "dataset").glob("*.yaml"))
KEYS = {
    "name", "root", "task", "shape", "num_classes", "image_size", "batch_size",
    "validation", "split", "normalize", "augment", "load",
}  # fmt: skip


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_file_fits_its_function(file, compose):
    config = OmegaConf.to_container(
        compose(f"dataset={file.stem}", "dataset.root=data"), resolve=True
    )
    check(config)
    dataset = config["dataset"]
    assert set(dataset) >= KEYS
    assert dataset["name"] == file.stem
    load = dict(dataset["load"])
    inspect.signature(get_object(load.pop("_target_"))).bind(**load)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_is_described(file):
    """The first line describes the data, and every key of its own is used."""
    text = file.read_text()
    assert text.startswith("# ")
    load = yaml.safe_load(text)["load"]
    others = {"defaults", "stored_size", "fold", "num_folds", "train_size", "order"}
    own = set(yaml.safe_load(text)) - KEYS - others
    assert all(f"${{dataset.{key}}}" in load.values() for key in own)
