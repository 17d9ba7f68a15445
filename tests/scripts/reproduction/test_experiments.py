"""The plan: what is run, what is left out, and the commands of the experiments."""

import subprocess

import pandas as pd
import pytest
from compare.helpers import write_run
from omegaconf import OmegaConf
from reproduction import experiments as reproduction
from reproduction.experiments import (
    command,
    missing_data,
    planned,
    read_plan,
    write_results,
)

from normlab.compare.runs import load_runs
from normlab.config.identity import configuration_directory

ENTRY = {
    "title": "A title",
    "sweep": {"norm": "none,torch"},
    "needs": ["MNIST/file"],
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
    """A plan of two experiments, one without data; returns the commands that run."""
    plan = {
        "demo": ENTRY,
        "lenet_cifar10": {**ENTRY, "title": "Another", "needs": ["CIFAR/file"]},
    }
    monkeypatch.setattr(
        reproduction,
        "composed_settings",
        lambda name, picked, swept: {"trainer.max_epochs": 5, "model.bias": True},
    )
    monkeypatch.setattr(reproduction, "read_plan", lambda: plan)
    commands = []
    monkeypatch.setattr(
        reproduction, "run_sweep", lambda words, outputs: commands.append(words)
    )
    return commands


def plan_before_demo(name, title):
    plan = reproduction.read_plan()
    plan[name] = {**ENTRY, "title": title}
    plan["demo"] = plan.pop("demo")


def test_what_has_no_data_is_named_and_the_rest_is_written(
    outputs, swept, tmp_path, capsys
):
    path = tmp_path / "docs" / "RESULTS.md"
    write_results(path, str(tmp_path / "data"), outputs, 6)
    assert [words[3] for words in swept] == ["experiment=demo"]
    assert (
        f"lenet_cifar10 is left out: {tmp_path / 'data'} holds no CIFAR/file"
        in capsys.readouterr().err
    )
    text = path.read_text()
    assert "## A title" in text
    assert "**No result here**: the data folder holds no `CIFAR/file`." in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("only", "write_only"), [(None, True), (["lenet_cifar10"], False)]
)
def test_nothing_more_is_run_than_was_asked_for(
    outputs, swept, tmp_path, only, write_only
):
    write_results(
        tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6, only, write_only
    )
    assert swept == []
    assert "## A title" in (tmp_path / "RESULTS.md").read_text()


def test_one_run_an_arm_is_no_result_and_stops_nothing(outputs, swept, tmp_path):
    for norm in ("none", "torch"):
        write_run(
            tmp_path / "outputs", norm, 0, 0.9, settings={"group": "mlp_mnist_small"}
        )
    plan_before_demo("mlp_mnist_small", "One of each")
    write_results(tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6)
    assert [words[3] for words in swept] == [
        "experiment=mlp_mnist_small",
        "experiment=demo",
    ]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "## A title" in text
    assert (
        "**No result here**: every arm must have at least two runs, "
        "each has one (seed 0)." in text
    )


def test_an_unknown_experiment_is_refused(outputs, swept, tmp_path):
    with pytest.raises(
        ValueError, match="--only must name some of demo, lenet_cifar10, got dmo"
    ):
        write_results(tmp_path / "RESULTS.md", "", outputs, 6, only=["dmo"])
    assert swept == []


def test_a_failed_sweep_is_no_result(monkeypatch, tmp_path):
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1)
    )
    with pytest.raises(
        RuntimeError, match=r"python train\.py -m .* ended with exit code 1"
    ):
        reproduction.run_sweep(["train.py", "-m", "norm=none"], tmp_path)


@pytest.mark.parametrize("code", [130, 143])
def test_after_a_sweep_that_was_stopped_no_other_one_begins(
    monkeypatch, tmp_path, code
):
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], code)
    )
    with pytest.raises(SystemExit) as stopped:
        reproduction.run_sweep(["train.py", "-m", "norm=none"], tmp_path)
    assert stopped.value.code == code


def test_a_failed_sweep_stops_no_other_and_is_named_at_the_end(
    outputs, swept, monkeypatch, tmp_path
):
    plan_before_demo("mlp_mnist", "A failing one")

    def run_sweep(words, outputs):
        swept.append(words)
        if "experiment=mlp_mnist" in words:
            raise RuntimeError("it ended with exit code 1")

    monkeypatch.setattr(reproduction, "run_sweep", run_sweep)
    with pytest.raises(RuntimeError, match=r"^mlp_mnist: it ended with exit code 1$"):
        write_results(tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6)
    assert [words[3] for words in swept] == ["experiment=mlp_mnist", "experiment=demo"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| A failing one | nothing | no result: its sweep failed | – |" in text
    assert "- torch does better than none" in text


def test_runs_of_other_settings_are_left_out_and_counted(outputs, swept, tmp_path):
    for settings in ({"trainer.max_epochs": 9}, {"model.bias": False}):
        write_run(outputs, "torch", 0, 0.1, settings=settings)
    write_run(outputs, "custom", 0, 0.1)
    write_run(outputs, "torch", 6, 0.1)
    write_run(
        outputs, "torch", 1, 0.9212, settings={"dataset.root": "elsewhere"}
    )  # as the same data give
    write_results(
        tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6, write_only=True
    )
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| torch | 6 | 0.9230 |" in text
    assert "| custom |" not in text
    assert (
        "Note: 5 other runs in the folder are left out: made with other settings than "
        "this command's, or again with data in another place."
    ) in text


@pytest.fixture
def made(compose, tmp_path):
    """made(name, *words) -> a table of one run of an experiment with these words."""

    def run(name, *words):
        config = OmegaConf.to_container(
            compose(f"experiment={name}", *words), resolve=True
        )
        folder = tmp_path / "made" / " ".join([name, *words]).replace("/", "_")
        write_run(folder, config["choices"]["norm"], config["seed"], settings=config)
        return load_runs(folder)

    return run


@pytest.mark.parametrize("name", sorted(read_plan()))
def test_runs_of_the_command_are_kept(made, name):
    first = [
        f"{key}={values.split(',')[0]}"
        for key, values in read_plan()[name]["sweep"].items()
        if "(" not in values
    ]
    root = ["dataset.root=elsewhere"] if "needs" in read_plan()[name] else []
    assert (
        len(
            planned(
                name,
                read_plan()[name],
                made(name, *first, *root, "device.threads=7"),
                "here",
                1,
            )
        )
        == 1
    )


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("mlp_mnist", "trainer.max_epochs=2"),
        ("mlp_mnist", "model.hidden=[8]"),
        ("mlp_mnist", "norm=ghost"),
        ("mlp_mnist", "norm.eps=0.1"),
        ("mlp_mnist", "seed=1"),
        ("tabular_kfold", "dataset=jh_simple"),
        ("tabular_kfold", "dataset.num_folds=7"),
        ("tabular_kfold", "dataset.fold=7"),
    ],
)
def test_runs_of_other_data_settings_and_seeds_are_not(made, name, word):
    runs = made(name, *(["norm=custom"] if word != "norm=ghost" else []), word)
    assert planned(name, read_plan()[name], runs, "here", 1).empty


def test_of_the_same_run_on_data_in_two_places_the_one_at_hand_is_kept(made):
    runs = [
        made("mlp_mnist", "norm=none", f"dataset.root={root}")
        for root in ("a", "here", "z")
    ]
    for data in ("here", "z"):
        kept = planned(
            "mlp_mnist",
            read_plan()["mlp_mnist"],
            pd.concat(runs, ignore_index=True),
            data,
            1,
        )
        assert kept["dataset.root"].tolist() == [data]


def test_a_folder_without_a_run_of_the_command_is_no_result(outputs, swept, tmp_path):
    plan = reproduction.read_plan()
    plan["demo"] = {**ENTRY, "sweep": {"norm": "ghost"}}
    plan["mlp_mnist"] = plan.pop("demo")
    outputs.joinpath("demo").rename(outputs / "mlp_mnist")
    write_results(
        tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 6, write_only=True
    )
    text = (tmp_path / "RESULTS.md").read_text()
    assert (
        "**No result here**: none of the 12 runs in its folder is one of this command."
        in text
    )


def test_missing_runs_are_named(outputs, swept, tmp_path):
    write_results(
        tmp_path / "RESULTS.md", str(tmp_path / "data"), outputs, 8, write_only=True
    )
    note = (
        "Note: 4 of 16 planned runs are missing: "
        "norm=none seed=6,7; norm=torch seed=6,7."
    )
    assert note in (tmp_path / "RESULTS.md").read_text()


def test_no_seeds_are_refused(outputs, swept, tmp_path):
    with pytest.raises(ValueError, match=r"^--seeds must be at least 1, got 0$"):
        write_results(tmp_path / "RESULTS.md", "", outputs, 0)
    assert swept == []


def test_data_are_there_when_all_files_are(tmp_path):
    entry = read_plan()["mlp_mnist"]
    for needed in entry["needs"]:
        assert missing_data(entry, str(tmp_path)) == needed
        (tmp_path / needed).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / needed).touch()
    assert missing_data(entry, str(tmp_path)) is None


def test_the_plan_names_every_experiment_of_the_notebooks():
    """Those with pretrained weights need what no machine has by itself."""
    files = {
        file.stem for file in (configuration_directory() / "experiment").glob("*.yaml")
    }
    pretrained = {"alexnet_tiny_imagenet", "transfer_tiny_imagenet"}
    leaderboard = {"speedrun_mnist", "speedrun_fashion"}
    assert set(read_plan()) == files - pretrained - leaderboard


@pytest.mark.parametrize("name", sorted(read_plan()))
def test_the_plan_is_the_experiments_own_command(name):
    """An experiment's header shows the plan's command and the contrast is an arm."""
    entry = read_plan()[name]
    header = " ".join(
        (configuration_directory() / "experiment" / f"{name}.yaml").read_text().split()
    )
    for key, values in entry["sweep"].items():
        assert f"{key}={values}" in header
    words = command(name, entry, "DATA", 10)
    assert words[:4] == ["train.py", "-m", "hydra/launcher=queue", f"experiment={name}"]
    assert ("dataset.root=DATA" in words) == ("needs" in entry)
    assert missing_data(entry, "/nowhere") == entry.get("needs", [None])[0]
    assert entry["contrast"].split(",")[0] in entry["sweep"]["norm"].split(",")
