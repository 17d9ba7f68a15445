"""Numbers of a run's untrained network."""

import shutil

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.evaluation.gradients_by_depth import RELU_GROWTH
from normlab.evaluation.probes import gradient_growth
from normlab.evaluation.stored import probed_value
from normlab.training.experiment import run

WIDE = ("model.hidden=[256,256,256,256,256,256]", "dataset.batch_size=256")
SHORT = ("trainer.max_steps=1", "trainer.max_epochs=1", "progress=false")


@pytest.fixture(scope="module")
def untrained(compose, tmp_path_factory):
    """By norm, the folder of a run of one step."""
    outputs = tmp_path_factory.mktemp("outputs")
    folders = {}
    for norm in ("custom", "none"):
        words = (*WIDE, *SHORT, f"norm={norm}", f"paths.outputs={outputs}")
        config = OmegaConf.to_container(compose(*words), resolve=True)
        assert run(config)["status"] == "finished"
        folders[norm] = run_folder(config)
    return folders


def test_squared_gradients_grow_with_batch_norm_as_theory_says(untrained):
    assert gradient_growth(untrained["custom"], 3) == pytest.approx(
        RELU_GROWTH, rel=0.1
    )
    assert gradient_growth(untrained["none"], 3) < 1.2


def test_a_probe_is_stored_beside_the_run(untrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(untrained["custom"], folder)
    expected = gradient_growth(folder, 2)
    assert probed_value(folder, "gradient_growth", 2) == expected
    (folder / "config.yaml").unlink()  # nothing is computed any more
    assert probed_value(folder, "gradient_growth", 2) == expected
    with pytest.raises(ValueError, match=r"config\.yaml was changed after the run"):
        probed_value(folder, "gradient_growth", 3)
