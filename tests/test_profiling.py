"""A trace that can be opened, of one block of steps, without a change to the run."""

import json

import pytest
from omegaconf import OmegaConf

from normlab.config import run_folder
from normlab.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_profiled_run_is_the_same_run(epochs, compose, tmp_path, capsys):
    def config(*overrides):
        words = [f"trainer.max_epochs={epochs}", "progress=false", f"paths.outputs={tmp_path}", *overrides]
        return OmegaConf.to_container(compose(*words), resolve=True)

    profiled = run(config("profile=true"))
    folder = run_folder(config())
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "Optimizer.step#SGD.step" for event in events) == 18
    assert "18 steps, trace for ui.perfetto.dev in" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"profile=true needs a run that trains, .* has ended: add rerun=true"):
        run(config("profile=true"))
    assert run(config("rerun=true"))["metrics"] == profiled["metrics"]
