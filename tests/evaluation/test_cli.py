"""The command lines print what the functions return, and explain mistakes."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from normlab.config.identity import run_folder
from normlab.evaluation.cli import (
    evaluate_main,
    evaluate_parser,
    inspect_main,
    inspect_parser,
)
from normlab.evaluation.evaluate import evaluate_run
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The variables that the commands set are as before when a test ends."""
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.setenv(name, "0")


def test_evaluate_prints_the_scores(stored, capsys):
    folder, result, _ = stored
    evaluate_main([str(folder)])
    output = capsys.readouterr().out
    assert output.splitlines()[0] == f"{folder.name}, running statistics"
    assert f"{result['metrics']['test/accuracy']:.4f}" in output


def test_evaluate_takes_another_data_set_with_settings(stored, capsys):
    words = ["--dataset", "digits", "dataset.validation=0.3"]
    evaluate_main([str(stored[0]), *words, "--statistics", "recalibrated"])
    title = capsys.readouterr().out.splitlines()[0]
    assert title == f"{stored[0].name} on digits, recalibrated statistics"


def test_evaluate_writes_the_scores_of_a_shift(stored, tmp_path, capsys):
    file = tmp_path / "scores.json"
    words = [str(stored[0]), "--shift", "noise:2", "--statistics", "mixed"]
    evaluate_main([*words, "--pseudo-count", "4", "--out", str(file)])
    title = capsys.readouterr().out.splitlines()[0]
    assert title == f"{stored[0].name}, noise:2, mixed statistics"
    written = json.loads(file.read_text())
    assert written["run"] == stored[0].name
    assert written["dataset"] is None
    metrics = evaluate_run(
        stored[0], shift="noise:2", statistics="mixed", calibration=True, pseudo_count=4
    )
    assert written["metrics"] == metrics

    evaluate_main([*words, "--pseudo-count", "4", "--out", str(tmp_path / "s.csv")])
    table = pd.read_csv(tmp_path / "s.csv")
    row = table[(table["part"] == "test") & (table["metric"] == "ece")].iloc[0]
    assert row["value"] == pytest.approx(metrics["test/ece"])
    assert (row["shift"], row["statistics"]) == ("noise:2", "mixed")
    assert len(table) == 15


def test_evaluate_makes_a_table_of_several_shifts(stored, tmp_path, capsys):
    words = ["--shift", "none,contrast:5", "--statistics", "running,adapted"]
    words += ["--parts", "val,test"]
    evaluate_main([str(stored[0]), *words, "--out", str(tmp_path / "s.csv")])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "," in line] == [
        f"{stored[0].name}, val",
        f"{stored[0].name}, test",
    ]
    rows = [line.split() for line in lines if line.split()[1:2] == ["adapted"]]
    assert [row[0] for row in rows] == ["none", "contrast:5"] * 2
    table = pd.read_csv(tmp_path / "s.csv")
    assert len(table) == 4 * 2 * 5  # evaluations, parts, metrics
    assert set(table["run"]) == {stored[0].name}
    keys = ["shift", "statistics", "part", "metric"]
    values = table.set_index(keys)["value"].sort_index()
    expected = values["contrast:5", "adapted", "test", "accuracy"]
    place = 2 + list(table["metric"].unique()).index("accuracy")
    assert rows[3][place] == f"{expected:.4f}"
    clean = values["none", "running", "test", "accuracy"]
    assert clean == pytest.approx(stored[1]["metrics"]["test/accuracy"])

    evaluate_main([str(stored[0]), *words, "--out", str(tmp_path / "s.json")])
    written = json.loads((tmp_path / "s.json").read_text())
    assert [entry["statistics"] for entry in written["evaluations"]] == (
        ["running", "adapted"] * 2
    )
    assert written["evaluations"][3]["metrics"]["test/accuracy"] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shift", "sleet:2"], "error: --shift must name a corruption, got 'slee"),
        (["--shift", "none,", "--out", "a.csv"], "error: --shift must name a corru"),
        (["--parts", "tests"], "error: --parts must name some of train, val, test,"),
        (["--out", "scores.txt"], "error: --out must end in .json or .csv, got sco"),
        (["--out", "/nowhere/a.csv"], "error: --out must lie in a folder that exi"),
        (["--recalibrate-on", "all"], "error: --recalibrate-on must be one of train"),
        (["--statistics", "moving"], "error: --statistics must be one of running"),
        (["--dataset", "digit"], "error: dataset=digit does not exist, did you mean"),
        (
            ["--statistics", "recalibrated", "--batches", "0"],
            "error: --batches must be at least 1, got 0",
        ),
        (["dataset.validation=0.3"], "error: settings are for another data set, got "),
        (
            ["--dataset", "image_folder", "dataset.root=/nowhere"],
            "error: normlab.data.images.image_folder: dataset.root=/nowhere must hold ",
        ),
        (
            ["--dataset", "digits", "dataset.load._target_=os.system"],
            "error: _target_ 'os.system' is not in a trusted package",
        ),
        (["--dataset", "digits", "dataset.validation=2"], "error: dataset.validation "),
        (["--config-dir", "/nowhere"], "error: --config-dir must be a folder"),
    ],
)
def test_evaluate_explains_mistakes_with_exit_code_2(stored, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        evaluate_main([str(stored[0]), *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert len(error.splitlines()) <= 2


OWN = """# Digits, as a file of one's own. It may come from somebody else.
name: own
task: classification
shape: [1, 8, 8]
num_classes: 10
image_size: null
batch_size: 32
validation: 0.2
split: stratified
normalize: train
augment: {}
load: {_target_: TARGET}
"""


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """own_folder(target): a folder of configurations beside code, and strangers' files.

    In the working folder lie files that have the names of packages.
    """

    def write(target):
        (tmp_path / "conf" / "dataset").mkdir(parents=True)
        text = OWN.replace("TARGET", target)
        (tmp_path / "conf" / "dataset" / "own.yaml").write_text(text)
        for name in ("yaml", "torch", "wandb", "triton", "not_trusted"):
            (tmp_path / f"{name}.py").write_text(STRANGER)
        (tmp_path / "own_digits.py").write_text(
            "from normlab.data.images import digits as load\n"
        )
        return str(tmp_path / "conf")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("NORMLAB_CONFIG_DIRS", raising=False)
    return write


STRANGER = "open('marker', 'w').close()\nraise SystemExit('code of a stranger')\n"


def test_evaluate_takes_a_data_set_of_ones_own(stored, own_folder, capsys):
    words = ["--dataset", "own", "--config-dir", own_folder("own_digits.load")]
    evaluate_main([str(stored[0]), *words, "--trust", "own_digits"])
    output = capsys.readouterr().out
    assert output.splitlines()[0] == f"{stored[0].name} on own, running statistics"
    accuracy = stored[1]["metrics"]["test/accuracy"]
    assert f"{accuracy:.4f}" in output
    assert not os.path.exists("marker")


@pytest.mark.parametrize(
    "target", ["own_digits.load", "not_trusted.load", "os.system", "joblib.load"]
)
def test_a_data_set_of_ones_own_brings_no_trust(stored, own_folder, capsys, target):
    words = ["--dataset", "own", "--config-dir", own_folder(target)]
    with pytest.raises(SystemExit) as end:
        evaluate_main([str(stored[0]), *words])
    assert end.value.code == 2
    assert f"{target!r} is not in a trusted package" in capsys.readouterr().err
    assert not os.path.exists("marker")


def test_inspect_prints_a_table_and_draws_a_figure(compose, tmp_path, capsys):
    words = [
        "model.hidden=[8,8]",
        "trainer.max_epochs=1",
        "progress=false",
        f"paths.outputs={tmp_path}",
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    run(config)
    figure = tmp_path / "layers.png"
    inspect_main([str(run_folder(config)), "--batches", "2", "--out", str(figure)])
    output = capsys.readouterr().out
    rows = [
        line.split()[:3]
        for line in output.splitlines()
        if line.strip().startswith("hidden")
    ]
    assert rows == [
        ["hidden.0.norm", "BatchNorm", "8"],
        ["hidden.1.norm", "BatchNorm", "8"],
    ]
    assert f"figure  {figure}" in output
    with Image.open(figure) as image:
        assert image.format == "PNG"

    # In the folder of the run, which may be a stranger's, a link is replaced.
    precious = tmp_path / "precious"
    precious.write_text("1")
    (run_folder(config) / "norms.png").symlink_to(precious)
    inspect_main([str(run_folder(config)), "--batches", "2"])
    assert precious.read_text() == "1"
    with Image.open(run_folder(config) / "norms.png") as image:
        assert image.format == "PNG"

    # What the user names is followed.
    named = tmp_path / "named.png"
    named.symlink_to(precious)
    inspect_main([str(run_folder(config)), "--batches", "2", "--out", str(named)])
    assert precious.read_bytes() == figure.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "must be the folder of a run, it has no config.yaml"),
        (["--batches", "0"], "--batches must be at least 1"),
        (["--out", "norms.txt"], "--out must end in .png, .svg or .pdf, got norms.txt"),
        (["--out", "no/norms.png"], "--out must lie in a folder that exists"),
    ],
)
def test_inspect_explains_mistakes_with_exit_code_2(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        inspect_main([str(tmp_path), *words])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("make", [evaluate_parser, inspect_parser])
def test_the_help_of_every_option_says_its_default(make):
    actions = [action for action in make()._actions if action.option_strings]
    options = [action for action in actions if action.dest != "help"]
    assert options
    assert all("(default: " in action.help for action in options)


def test_help_imports_no_torch():
    code = (
        "import sys\n"
        "from normlab.evaluation.cli import evaluate_main\n"
        "try:\n    evaluate_main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
