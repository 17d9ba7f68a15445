"""Exported files compute what the network computes, and say what they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from normlab.config.identity import run_folder
from normlab.export import export
from normlab.export.cli import main
from normlab.export.export import export_run
from normlab.predict.predictor import load_predictor
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec.*", "ignore::DeprecationWarning"
)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variables that the command sets are as before when a test ends."""
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "0")


@pytest.fixture(scope="module")
def digits(compose, tmp_path_factory):
    """A small run on digits."""
    words = (
        *("model=lenet5", "dataset=digits", "norm=custom", "progress=false"),
        *("trainer.max_epochs=1", f"paths.outputs={tmp_path_factory.mktemp('out')}"),
    )
    config = OmegaConf.to_container(compose(*words), resolve=True)
    run(config)
    return run_folder(config)


@pytest.fixture
def samples():
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def expected_of(digits, samples):
    with torch.no_grad():
        return load_predictor(digits).network(samples)


@pytest.mark.parametrize("fold", [False, True])
def test_an_onnx_file_computes_the_same(digits, samples, tmp_path, fold):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    exported = export_run(digits, "onnx", path, fold)
    assert exported.samples == "64 test samples"
    assert exported.same_class == 1
    assert exported.largest_difference < 1e-4
    assert [row.into is not None for row in exported.folds] == [True] * 4 * fold
    session = onnxruntime.InferenceSession(str(path))
    (outputs,) = session.run(["outputs"], {"inputs": samples.numpy()})
    assert outputs == pytest.approx(expected_of(digits, samples).numpy(), abs=1e-4)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list("0123456789")
    assert json.loads(metadata["input_shape"]) == ["batch", 1, 28, 28]
    inputs = load_predictor(digits).inputs
    assert json.loads(metadata["images"])["mean"] == list(inputs.transform.mean)
    nodes = {node.op_type for node in onnx.load(path).graph.node}
    assert "Conv" in nodes
    if fold:
        assert not nodes & {"BatchNormalization", "Sqrt", "Sub", "Div"}


def test_a_graph_of_torch_export_computes_the_same(digits, samples, tmp_path):
    path = tmp_path / "model.pt2"
    export_run(digits, "torch_export", path, fold=True)
    extra = {"metadata.json": ""}
    program = torch.export.load(path, extra_files=extra)
    outputs = program.module()(samples)
    torch.testing.assert_close(
        outputs, expected_of(digits, samples), rtol=1e-4, atol=1e-4
    )
    assert json.loads(extra["metadata.json"])["run"].endswith(digits.name)


def test_safetensors_hold_the_state(digits, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    export_run(digits, "safetensors", path)
    with safetensors.safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["output_shape"]) == ["batch", 10]
        state = load_predictor(digits).network.state_dict()
        assert set(file.keys()) == set(state)
        for name, value in state.items():
            assert torch.equal(file.get_tensor(name), value)


def test_a_link_in_the_folder_of_the_run_is_replaced(digits, tmp_path):
    pytest.importorskip("safetensors")
    folder = Path(shutil.copytree(digits, tmp_path / digits.name))
    precious = tmp_path / "precious"
    precious.write_text("1")
    path = folder / "model.safetensors"
    path.symlink_to(precious)
    assert export_run(folder, "safetensors").path == path
    assert precious.read_text() == "1"
    assert path.stat().st_size > 1000
    named = tmp_path / "named.safetensors"
    named.symlink_to(precious)
    export_run(folder, "safetensors", named)
    assert precious.stat().st_size == path.stat().st_size


def test_a_run_without_its_data_is_compared_on_random_numbers(
    digits, tmp_path, monkeypatch, capsys
):
    def gone(*_):
        raise ValueError("the data are gone")

    monkeypatch.setattr(export, "stored_parts", gone)
    exported = export_run(digits, "torch_export", tmp_path / "model.pt2")
    assert exported.samples == "64 samples of random numbers"
    assert "cannot be read: the data are gone" in capsys.readouterr().err


def test_a_file_that_computes_something_else_is_not_kept(digits, tmp_path, monkeypatch):
    def wrong(path, network, inputs, metadata):
        path.write_bytes(b"")
        return lambda samples: network(samples) + 1

    monkeypatch.setitem(export.WRITE, "torch_export", wrong)
    path = tmp_path / "model.pt2"
    path.write_text("an older file")
    with pytest.raises(ValueError, match="its outputs differ by up to 1"):
        export_run(digits, "torch_export", path)
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_prints_the_agreement(digits, tmp_path, capsys):
    folder = Path(shutil.copytree(digits, tmp_path / digits.name))
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 8, 8), np.uint8))
    words = ["--format", "torch_export", "--fold", "--samples", str(tmp_path / "x.npy")]
    main([str(folder), *words])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"file      {folder}/model.pt2 (")
    assert lines[1] == "input     inputs (batch, 1, 28, 28)"
    assert lines[2] == "output    outputs (batch, 10)"
    assert lines[3] == "folded    4 of 4 norms"
    assert lines[4].startswith("agreement outputs differ by at most ")
    assert lines[4].endswith(
        f"100.0% have the same class (3 samples of {tmp_path}/x.npy)"
    )
    assert (folder / "model.pt2").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/nowhere"], "error: /nowhere must be the folder of a run"),
        (["RUN", "--out", "/nowhere/x"], "error: --out must be a file in a folder th"),
        (["RUN", "--samples", "/no"], "error: --samples must be a file or a folder"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(digits, capsys, words, message):
    words = [str(digits) if word == "RUN" else word for word in words]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert len(error.splitlines()) == 1


def test_a_missing_package_is_named(digits, monkeypatch):
    monkeypatch.setitem(export.check_packages.__globals__["PACKAGES"], "onnx", ("no1",))
    message = r"form must be .* onnx needs no1: pip install 'normlab\[export\]'"
    with pytest.raises(ValueError, match=message):
        export_run(digits, "onnx")
