"""The plan: what is run, what is left out, and that it is the experiments' own commands."""

import subprocess

import pytest

from compare.helpers import write_run
from normlab.compare import reproduction
from normlab.compare.reproduction import command, missing_data, read_plan, write_results
from normlab.config import configuration_directory

ENTRY = {
    "title": "A title",
    "sweep": {"norm": "none,torch"},
    "needs": "MNIST/file",
    "contrast": "torch",
    "comparisons": [{"by": ["norm"], "baseline": "none"}],
    "notebook": {"printed": "nothing", "flaws": "It was one run."},
}


@pytest.fixture
def outputs(tmp_path):
    for seed in range(6):
        write_run(tmp_path / "outputs", "none", seed, 0.90 + 0.001 * seed)
        write_run(tmp_path / "outputs", "torch", seed, 0.92 + 0.0012 * seed)
    (tmp_path / "data" / "MNIST").mkdir(parents=True)
    (tmp_path / "data" / "MNIST" / "file").touch()
    return tmp_path / "outputs"


@pytest.fixture
def swept(monkeypatch):
    """The plan has one experiment with runs and CIFAR-10's without data; returns the commands that are run."""
    plan = {"demo": ENTRY, "lenet_cifar10": {**ENTRY, "title": "Another", "needs": "CIFAR/file"}}
    monkeypatch.setattr(reproduction, "read_plan", lambda: plan)
    commands = []
    monkeypatch.setattr(reproduction, "run_sweep", lambda words, outputs: commands.append(words))
    return commands


def test_what_has_no_data_is_named_and_the_rest_is_written(outputs, swept, tmp_path, capsys):
    path = tmp_path / "docs" / "RESULTS.md"
    write_results(path, str(tmp_path / "data"), outputs, 6)
    assert [words[3] for words in swept] == ["experiment=demo"]
    assert f"lenet_cifar10 is left out: {tmp_path / 'data'} holds no CIFAR/file" in capsys.readouterr().err
    text = path.read_text()
    assert "## A title" in text
    assert "**No result here**: the data folder holds no `CIFAR/file`." in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(("only", "write_only"), [(None, True), (["lenet_cifar10"], False)])
def test_nothing_more_is_run_than_was_asked_for(outputs, swept, tmp_path, only, write_only):
    write_results(tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6, only, write_only)
    assert swept == []
    assert "## A title" in (tmp_path / "RESULTS.md").read_text()


def test_one_run_an_arm_is_no_result_and_stops_nothing(outputs, swept, tmp_path):
    for norm in ("none", "torch"):
        write_run(tmp_path / "outputs", norm, 0, 0.9, settings={"group": "mlp_mnist_small"})
    plan = reproduction.read_plan()
    plan["mlp_mnist_small"] = {**ENTRY, "title": "One of each"}
    plan["demo"] = plan.pop("demo")  # behind it
    write_results(tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6)
    assert [words[3] for words in swept] == ["experiment=mlp_mnist_small", "experiment=demo"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## A title" in text
    assert "**No result here**: every arm must have at least two runs, each has one (seed 0)." in text


def test_an_unknown_experiment_is_refused(outputs, swept, tmp_path):
    with pytest.raises(ValueError, match="--only must name some of demo, lenet_cifar10, got dmo"):
        write_results(tmp_path / "RESULTS.md", "", outputs, 6, only=["dmo"])
    assert swept == []


def test_a_failed_sweep_is_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))
    with pytest.raises(RuntimeError, match=r"python train\.py -m .* ended with exit code 1"):
        reproduction.run_sweep(["train.py", "-m", "norm=none"], tmp_path)


def test_the_plan_names_every_experiment_but_the_pretrained_one():
    """AlexNet's needs weights and data that no machine has by itself."""
    files = {file.stem for file in (configuration_directory() / "experiment").glob("*.yaml")}
    assert set(read_plan()) == files - {"alexnet_tiny_imagenet"}


@pytest.mark.parametrize("name", sorted(read_plan()))
def test_the_plan_is_the_experiments_own_command(name):
    """The header of the experiment and the plan show one command, and the contrast is one of its arms."""
    entry = read_plan()[name]
    header = " ".join((configuration_directory() / "experiment" / f"{name}.yaml").read_text().split())
    for key, values in entry["sweep"].items():
        assert f"{key}={values}" in header
    words = command(name, entry, "DATA", 10)
    assert words[:4] == ["train.py", "-m", "hydra/launcher=queue", f"experiment={name}"]
    assert ("dataset.root=DATA" in words) == ("needs" in entry)
    assert missing_data(entry, "/nowhere") == entry.get("needs")
    assert entry["contrast"].split(",")[0] in entry["sweep"]["norm"].split(",")
