"""The document of results holds what the runs say and what the notebook said, and nothing else."""

import subprocess

import pytest
import yaml

from compare.helpers import write_run
from normlab.compare import reproduction
from normlab.compare.reproduction import command, missing_data, read_plan, section, write_results
from normlab.config import configuration_directory

ENTRY = {
    "title": "A title",
    "sweep": {"norm": "none,torch"},
    "needs": "MNIST/file",
    "comparisons": [{"by": ["norm"], "baseline": "none"}],
    "curves": ["train/loss"],
    "notebook": {
        "arms": {"none": {"train/loss": {2: 0.5}, "test/accuracy": 0.9}, "torch": {"test/accuracy": 0.99}},
        "flaws": "It was one run.",
    },
}


@pytest.fixture
def folder(tmp_path):
    for seed in range(6):
        write_run(tmp_path, "none", seed, 0.90 + 0.001 * seed, curve=[0.7, 0.8])
        folder = write_run(tmp_path, "torch", seed, 0.92 + 0.0012 * seed, curve=[0.8, 0.9])
    return folder.parent


def test_a_section_sets_the_runs_beside_the_notebook(folder, tmp_path):
    text = section("demo", ENTRY, folder, 6, tmp_path / "figures")
    assert "python train.py -m experiment=demo norm=none,torch 'seed=range(6)' dataset.root=DATA" in text
    assert "| none | 6 | 0.9025 | 0.0019 |" in text
    assert "torch does better than none: its test/accuracy is 0.0205 higher" in text
    assert "| train/loss | 2 | none | 6 | 0.2000 | 0.0000 | 0.2000 | 0.2000 | 0.5000 |" in text  # 1 - 0.8
    assert "| train/loss | 2 | torch | 6 | 0.1000 | 0.0000 | 0.1000 | 0.1000 | – |" in text
    assert "none 0 norm layers" in text
    assert "torch 2 norm layers" in text
    assert "a difference of +0.0900. Here it is +0.0205, and the interval" in text
    assert "does not hold the notebook's." in text
    assert "It was one run." in text
    assert (tmp_path / "figures" / "demo.png").stat().st_size > 5000


def test_what_has_no_data_is_named_and_the_rest_is_written(folder, tmp_path, monkeypatch):
    plan = {"demo": ENTRY, "absent": {**ENTRY, "title": "Another", "needs": "CIFAR/file"}}
    monkeypatch.setattr(reproduction, "read_plan", lambda: plan)
    calls = []
    monkeypatch.setattr(reproduction, "run_sweep", lambda words, outputs: calls.append(words))
    data = tmp_path / "data" / "MNIST"
    data.mkdir(parents=True)
    (data / "file").touch()
    document = tmp_path / "docs" / "RESULTS.md"
    write_results(document, str(tmp_path / "data"), folder.parent, 6)
    assert [words[2] for words in calls] == ["experiment=demo"]
    text = document.read_text()
    assert "Not run here: DATA holds no CIFAR/file." in text
    assert "## A title" in text
    with pytest.raises(ValueError, match="no experiment 'dmo'; did you mean demo?"):
        write_results(document, "", folder.parent, 6, only=["dmo"])


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
    """The header of the experiment and the plan show one command."""
    entry = read_plan()[name]
    header = " ".join((configuration_directory() / "experiment" / f"{name}.yaml").read_text().split())
    for key, values in entry["sweep"].items():
        assert f"{key}={values}" in header
    assert yaml.safe_load(yaml.safe_dump(entry)) == entry
    assert command(name, entry, "DATA", 10)[2] == f"experiment={name}"
    assert missing_data(entry, "/nowhere") == entry.get("needs")
