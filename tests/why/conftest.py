"""Two short runs for all tests of this folder: with batch norm and without a norm."""

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.training.experiment import run
from normlab.why.explanation import explain_runs
from normlab.why.measure import Settings

SHORT = Settings(steps=6, points=3, frames=3, samples=32, grid=3)


@pytest.fixture(scope="session")
def make_run(compose, tmp_path_factory):
    """make_run(*words): the folder of a run of one epoch on few samples."""
    outputs = tmp_path_factory.mktemp("outputs")

    def make(*words):
        config = OmegaConf.to_container(
            compose(
                "trainer.max_epochs=1",
                "trainer.max_samples=300",
                "progress=false",
                "logger=[]",
                f"paths.outputs={outputs}",
                *words,
            ),
            resolve=True,
        )
        run(config)
        return run_folder(config)

    return make


@pytest.fixture(scope="session")
def runs(make_run):
    """The folders of two runs: without a norm, and with PyTorch's batch norm."""
    return [make_run("norm=none"), make_run("norm=torch")]


@pytest.fixture(scope="session")
def explanation(runs):
    """The pictures of both runs."""
    return explain_runs(runs, SHORT)
