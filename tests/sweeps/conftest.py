"""Fixtures that compose the jobs of a sweep."""

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from normlab.config.identity import configuration_directory
from normlab.sweeps.composer import Composer


@pytest.fixture(scope="module")
def start_sweep():
    """start_sweep(*overrides of Hydra) -> the two arguments of a `Composer`."""
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):

        def start(*overrides):
            loader = GlobalHydra.instance().config_loader()
            master = loader.load_configuration(
                "config", list(overrides), run_mode=RunMode.MULTIRUN
            )
            HydraConfig.instance().set_config(master)
            return loader, master

        yield start
        HydraConfig.instance().cfg = None


@pytest.fixture(scope="module")
def compose_job(start_sweep):
    """compose_job(overrides) -> the configuration of a job of the default sweep."""
    return Composer(*start_sweep())
