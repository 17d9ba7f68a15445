"""Fixtures that every test may use."""

import os
import signal
from pathlib import Path

import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.signals import STOP_SIGNALS

pytest_plugins = ["skips"]
ROOT = Path(__file__).resolve().parents[1]
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def variables_of_this_test_only(monkeypatch):
    """What a test says to other processes, such as its norms, it alone says."""
    names = (OWN_NORMS_VARIABLE, "PYTHONSAFEPATH")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    yield
    for name in names:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def stop_signals():
    """The handlers of the stop signals, which every test leaves as it found them."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield before
    found = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert found == before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real data sets: NORMLAB_DATA, else ../shared/data.

    Tests that use it are skipped if it is absent.
    """
    folder = Path(os.environ.get("NORMLAB_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MNIST").is_dir():
        pytest.skip(
            f"real data not found: set NORMLAB_DATA to a folder that holds MNIST/ "
            f"(looked in {folder})"
        )
    return folder


@pytest.fixture(scope="session")
def compose():
    """compose(*overrides): the configuration that `train.py *overrides` would run."""

    def compose_config(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            config = hydra_compose(
                "config", overrides=list(overrides), return_hydra_config=True
            )
        HydraConfig.instance().set_config(config)
        config = config.copy()
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return config

    return compose_config
