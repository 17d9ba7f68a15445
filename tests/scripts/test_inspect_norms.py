"""The script prints and draws what `normlab.inspection` finds, and refuses in one line what it cannot read."""

import runpy
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from normlab.config.identity import run_folder
from normlab.training.experiment import run

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "inspect_norms.py"
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def inspect(monkeypatch):
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    monkeypatch.setenv(
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"
    )  # the script sets it, and leaves it set

    def main(*words):
        monkeypatch.setattr(sys, "argv", ["inspect_norms.py", *map(str, words)])
        runpy.run_path(str(SCRIPT))["main"]()

    return main


def test_a_table_and_a_figure_of_every_layer(compose, tmp_path, capsys, inspect):
    words = [
        "model.hidden=[8,8]",
        "trainer.max_epochs=1",
        "progress=false",
        f"paths.outputs={tmp_path}",
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    run(config)
    inspect(run_folder(config), "--batches", 2, "--out", tmp_path / "layers.png")
    told = capsys.readouterr().out
    rows = [
        line.split()[:3]
        for line in told.splitlines()
        if line.strip().startswith("hidden")
    ]
    assert rows == [
        ["hidden.0.norm", "BatchNorm", "8"],
        ["hidden.1.norm", "BatchNorm", "8"],
    ]
    assert f"figure  {tmp_path / 'layers.png'}" in told
    with Image.open(tmp_path / "layers.png") as figure:
        assert figure.format == "PNG"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "must be the folder of a run, it has no config.yaml"),
        (("--batches", 0), "--batches must be at least 1"),
    ],
)
def test_what_cannot_be_inspected_ends_with_2(
    tmp_path, capsys, inspect, words, message
):
    with pytest.raises(SystemExit) as end:
        inspect(tmp_path, *words)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
