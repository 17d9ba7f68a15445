"""A finished run for all tests of this folder."""

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.training.experiment import run


@pytest.fixture(scope="session")
def stored(compose, tmp_path_factory):
    """Folder, result and configuration of a run with batch norm on digits."""
    outputs = tmp_path_factory.mktemp("outputs")
    words = ("trainer.max_epochs=2", "progress=false", f"paths.outputs={outputs}")
    config = OmegaConf.to_container(compose(*words), resolve=True)
    return run_folder(config), run(config), config
