"""A profiled run is the same run, and leaves a trace of one block of steps."""

import json
import signal

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.endings import Interrupted
from normlab.training.checkpoints import Checkpoints
from normlab.training.experiment import run
from normlab.training.profiling import ROWS

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_profiled_run_is_the_same_run(epochs, compose, tmp_path, capsys):
    def config(*overrides):
        words = [
            f"trainer.max_epochs={epochs}",
            "progress=false",
            f"paths.outputs={tmp_path}",
            *overrides,
        ]
        return OmegaConf.to_container(compose(*words), resolve=True)

    folder = run_folder(config())
    folder.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("1")
    (folder / "trace.json.tmp").symlink_to(precious)
    profiled = run(config("profile=true"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    assert sum(event.get("name") == "Optimizer.step#SGD.step" for event in events) == 18
    error = capsys.readouterr().err
    assert "18 steps, trace for ui.perfetto.dev in" in error
    assert "Self CPU" in error
    names = [
        line.split()[0]
        for line in error.splitlines()
        if line.strip().startswith(("aten::", "Optimizer"))
    ]
    # Which operators took longest depends on the machine.
    traced = {event.get("name") for event in events}
    assert "aten::addmm" in traced
    assert set(names) <= traced
    assert 0 < len(names) <= ROWS
    assert precious.read_text() == "1"
    with pytest.raises(
        ValueError,
        match=r"profile=true needs a run that trains, .* has ended: add rerun=true",
    ):
        run(config("profile=true"))
    assert run(config("rerun=true"))["metrics"] == profiled["metrics"]


def test_a_run_resumed_inside_its_only_epoch_is_traced(
    compose, tmp_path, monkeypatch, capsys
):
    """Blocks of five steps: the first three are done, the last has three."""
    words = [
        "trainer.max_epochs=1",
        "checkpoint.every_n_steps=5",
        "progress=false",
        f"paths.outputs={tmp_path}",
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    original = Checkpoints.on_train_batch_end

    def kill(self, trainer, task, *arguments):
        original(self, trainer, task, *arguments)
        if task.progress.steps == 15:
            raise Interrupted(signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", kill)
    with pytest.raises(Interrupted):
        run(config)
    monkeypatch.undo()
    run(config | {"profile": True})
    assert "3 steps, trace for ui.perfetto.dev in" in capsys.readouterr().err
    assert (run_folder(config) / "trace.json").is_file()


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_diverges_before_the_trace_says_so(
    epochs, compose, tmp_path, capsys
):
    words = [
        f"trainer.max_epochs={epochs}",
        "norm=none",
        "optimizer.lr=1000",
        "profile=true",
        "progress=false",
    ]
    config = OmegaConf.to_container(
        compose(*words, f"paths.outputs={tmp_path}"), resolve=True
    )
    result = run(config)
    assert result["status"] == "diverged"
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line == f"profile=true has written no trace: {result['reason']}, "
        f"before the traced steps had ended"
    )
    assert not (run_folder(config) / "trace.json").exists()
