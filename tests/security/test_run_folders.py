"""Run folders of a stranger run no code, and are read within bounds."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hydra.errors import HydraException

from normlab.compare import load_runs
from normlab.evaluation.evaluate import evaluate_run
from normlab.evaluation.inspection import inspect_run
from normlab.models.weights import weights_from_file
from normlab.predict.predictor import load_predictor
from normlab.training.log_files import truncate_logs
from security.hostile import STORED, Hostile, make_trap

RUN = Path(__file__).parents[1] / "stored_runs" / "custom-sgd-lr0.1-seed0-c2b4372c5c"
READERS = {"evaluate": evaluate_run, "inspect": inspect_run, "predict": load_predictor}
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def trap(tmp_path):
    return make_trap(tmp_path)


@pytest.fixture
def stranger(tmp_path):
    """A run folder that somebody else may have changed."""
    return Path(shutil.copytree(RUN, tmp_path / "group" / RUN.name))


def change(folder, key, value):
    """Set a dotted key of the stored configuration."""
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    node = config
    for name in parents:
        node = node[name]
    node[last] = value
    path.write_text(yaml.safe_dump(config))


def filled(trap, value):
    return yaml.safe_load(trap.fill(yaml.safe_dump(value)))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", STORED)
def test_a_hostile_configuration_is_refused(trap, stranger, name, read):
    key, value = STORED[name]
    change(stranger, key, filled(trap, value))
    with pytest.raises(ValueError, match=r".") as error:
        read(stranger)
    assert not trap.marker.exists()
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize("name", STORED)
def test_a_hostile_configuration_is_compared_as_data(trap, stranger, name):
    key, value = STORED[name]
    change(stranger, key, filled(trap, value))
    load_runs(stranger.parent)
    assert not trap.marker.exists()


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_hostile_checkpoint_is_refused(trap, stranger, read):
    torch.save(
        {"network": Hostile(trap.marker)}, stranger / "checkpoints" / "best.ckpt"
    )
    with pytest.raises(ValueError, match="holds more than tensors and plain types"):
        read(stranger)
    assert not trap.marker.exists()


def test_hostile_weights_are_refused(trap):
    with pytest.raises(ValueError, match="is not a weights file"):
        weights_from_file(trap.folder / "x.ckpt")
    assert not trap.marker.exists()


def test_the_hostile_files_do_what_they_threaten(trap):
    pickle.loads((trap.folder / "x.pkl").read_bytes())
    assert trap.marker.exists()


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def as_pipe(path):
    path.unlink()
    os.mkfifo(path)


def as_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def as_link(path):
    path.rename(path.with_suffix(".original"))
    path.symlink_to(path.with_suffix(".original"))


def as_bomb(path):
    path.write_text(BOMB)


def as_wrong_tag(path):
    path.write_text("a: !!bool x")


def as_long_integer(path):
    path.write_text("seed: 1" + ":0" * 1_000_000)


def as_deep_indentation(path):
    path.write_text("\n".join(" " * depth + "a:" for depth in range(2000)))


def as_sparse_giant(path):
    with open(path, "r+b") as file:
        file.truncate(2**40)


def as_deep_nest(path):
    path.write_bytes(b"[" * 200_000)


def as_noise(path):
    path.write_bytes(bytes(range(256)) * 100)


CHANGES = [
    as_pipe,
    as_device,
    as_link,
    as_bomb,
    as_wrong_tag,
    as_long_integer,
    as_deep_indentation,
    as_sparse_giant,
    as_deep_nest,
    as_noise,
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("change_file", CHANGES)
@pytest.mark.parametrize("name", ["config.yaml", "checkpoints/best.ckpt"])
def test_a_changed_file_ends_in_one_line(stranger, name, change_file, read):
    change_file(stranger / name)
    with pytest.raises(ValueError, match=Path(name).name) as error:
        read(stranger)
    assert len(str(error.value).splitlines()) <= 2


NAMES = [
    *("config.yaml", "result.json", "environment.json", "metrics.csv"),
    "statistics.csv",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("change_file", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_file_does_not_stop_a_comparison(stranger, name, change_file):
    shutil.copytree(
        RUN.with_name("none-sgd-lr0.1-seed0-64b411328c"), stranger.parent / "other"
    )
    change_file(stranger / name)
    runs = load_runs(stranger.parent)
    assert "other" in {Path(folder).name for folder in runs["folder"]}


DAMAGES = [
    *("", "[]", "a", "seed: 1", "model: {}", "choices: [1]", "trusted_packages: 3"),
    *("dataset: null", "model: 3", "norm: []", "device: x", "\x00", "a: [", "? {}"),
]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_configuration_is_one_line(stranger, content, read):
    (stranger / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=r".") as error:
        read(stranger)
    assert len(str(error.value).splitlines()) <= 2


def test_a_link_among_the_logs_is_deleted_and_its_target_kept(stranger, tmp_path):
    target = tmp_path / "precious.csv"
    target.write_text("a,b\n1,2\n")
    (stranger / "metrics.csv").unlink()
    (stranger / "metrics.csv").symlink_to(target)
    warnings = []
    truncate_logs(stranger, {"metrics.csv": 3}, {}, warnings.append)
    assert target.read_text() == "a,b\n1,2\n"
    assert not (stranger / "metrics.csv").is_symlink()
    assert "metrics.csv has 0 of the 3 bytes" in warnings[0]


LOADERS = {
    "own norm": {
        "_target_": "normlab.norms.own.own_norm",
        "norm": "evil.Norm",
        "source": "0" * 16,
    },
    "own norm of a path": {
        "_target_": "normlab.norms.own.own_norm",
        "norm": "FOLDER/evil.py:Norm",
        "source": "FOLDER/evil.py:Norm",
    },
    "a loader as norm": {
        "_target_": "normlab.norms.loading.load_norm",
        "reference": "FOLDER/evil.py:Norm",
    },
    "an offer as norm": {
        "_target_": "normlab.norms.own.offer_file",
        "reference": "FOLDER/evil.py:Norm",
    },
    "a builder as norm": {
        "_target_": "normlab.norms.construction.build_norm",
        "target": {
            "_target_": "normlab.norms.loading.import_file",
            "path": "FOLDER/evil.py",
        },
    },
}


@pytest.mark.parametrize("place", ["norm", "reparametrize", "model"])
@pytest.mark.parametrize("name", LOADERS)
def test_a_norm_in_a_file_is_not_loaded(trap, stranger, monkeypatch, name, place):
    """Only a command names the file of a norm; a run folder cannot bring it."""
    code = f"open({str(trap.marker)!r}, 'w')\nclass Norm: pass\n"
    for folder in (trap.folder, stranger, stranger.parent):
        (folder / "evil.py").write_text(code)
    monkeypatch.chdir(stranger)
    change(stranger, place, filled(trap, {"_partial_": True, **LOADERS[name]}))
    with pytest.raises((ValueError, HydraException), match=r"."):
        evaluate_run(stranger)
    assert not trap.marker.exists()


INPUTS = {
    "schema": 1,
    "input_shape": [1, 8, 8],
    "num_outputs": 10,
    "sample_shape": [1, 8, 8],
    "images": {"mean": [0.3], "std": [0.4], "size": 8, "bytes": True},
    "columns": None,
    "target": None,
}


@pytest.fixture
def described(stranger):
    """A run folder that is predicted without its data set."""
    (stranger / "inputs.json").write_text(json.dumps(INPUTS))
    assert load_predictor(stranger).inputs.num_outputs == 10
    return stranger


@pytest.mark.timeout(60)
@pytest.mark.parametrize("change_file", CHANGES)
def test_changed_inputs_end_in_one_line(described, change_file):
    change_file(described / "inputs.json")
    with pytest.raises(ValueError, match=r"inputs\.json") as error:
        load_predictor(described)
    assert len(str(error.value).splitlines()) <= 2


GIANTS = {
    "many layers": ("model.hidden", [1] * 2000, "more layers than best.ckpt"),
    "wide layers": ("model.hidden", [10**7, 10**7], "does not fit the network"),
    "no size at all": ("model.hidden", [10**40], "cannot be built"),
    "a deep ResNet": (
        "model",
        {"_target_": "normlab.models.ResNet", "depth": 6 * 10**8 + 2},
        "more layers than best.ckpt",
    ),
    "a deep transformer": (
        "model",
        {"_target_": "normlab.models.VisionTransformer", "depth": 10**9},
        "more layers than best.ckpt",
    ),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", GIANTS)
def test_a_network_that_is_larger_than_its_file_is_not_built(described, name):
    key, value, message = GIANTS[name]
    change(described, key, value)
    images = INPUTS["images"] | {"size": 32}
    inputs = INPUTS | {"images": images, "input_shape": [1, 32, 32]}
    (described / "inputs.json").write_text(json.dumps(inputs))
    with pytest.raises(ValueError, match=message) as error:
        load_predictor(described)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.timeout(60)
def test_tensors_that_are_larger_than_their_file_are_refused(described):
    path = described / "checkpoints" / "best.ckpt"
    state = torch.load(path, weights_only=True)
    name = next(iter(state["network"]))
    state["network"][name] = torch.zeros(1).expand(2**20, 2**20)
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"best\.ckpt"):
        load_predictor(described)
