"""Runs explain themselves by the pictures of the command why."""

import pytest
from omegaconf import OmegaConf

from normlab.api.results import Run, Runs
from normlab.config.identity import run_folder
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
FEW = {"steps": 2, "points": 2, "samples": 8, "grid": 3, "frames": 2}


@pytest.fixture
def make_run(compose, tmp_path):
    def make(norm):
        words = ("trainer.max_epochs=1", "trainer.max_samples=100", "progress=false")
        outputs = f"paths.outputs={tmp_path}"
        config = compose(*words, outputs, "logger=[]", f"norm={norm}")
        config = OmegaConf.to_container(config, resolve=True)
        run(config)
        return Run(run_folder(config))

    return make


def test_several_runs_are_compared_in_the_pictures(make_run):
    drawings = Runs([make_run("none"), make_run("custom")]).why(**FEW)
    assert set(drawings) == {
        *("landscape", "covariate_shift", "depth", "surface", "film"),
    }
    lines = drawings["landscape"].figure.axes[2].lines
    assert [line.get_label() for line in lines] == ["none", "custom"]
    assert "What the paper found: " in drawings["landscape"].caption


def test_a_single_run_has_the_pictures_that_are_defined_for_it(make_run):
    drawings = make_run("none").why(**FEW)
    assert "film" not in drawings
    assert "surface" in drawings


def test_impossible_numbers_are_refused(make_run):
    with pytest.raises(ValueError, match="points must be at least 1, got 0"):
        make_run("none").why(points=0)
