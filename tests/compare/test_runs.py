"""Loading run folders, also damaged ones."""

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare.runs import load_runs, read_settings


def test_every_run_is_one_row_with_settings_metrics_and_origin(tmp_path):
    write_run(tmp_path, "custom", seed=3, value=0.97, settings={"optimizer.lr": 0.01})
    row = load_runs(tmp_path).iloc[0]
    assert (row["norm"], row["dataset"], row["seed"], row["status"]) == (
        "custom",
        "digits",
        3,
        "finished",
    )
    assert (row["optimizer.lr"], row["norm.eps"], row["model.hidden"]) == (
        0.01,
        1e-5,
        "[128, 64]",
    )
    assert (row["test/accuracy"], row["steps"]) == (0.97, 90)
    assert row["environment.git.commit"].startswith("0123456789")
    assert row["environment.command"] == "train.py -m norm=none,custom 'seed=range(10)'"


def test_settings_read_by_blocks_equal_those_read_whole(tmp_path):
    path = write_run(tmp_path, "custom") / "config.yaml"
    by_block = read_settings(path)
    path.write_text(
        path.read_text() + "shared: &shared [1, 2]\nagain: *shared\n"
    )  # an alias across blocks
    assert read_settings(path) == by_block | {"shared": "[1, 2]", "again": "[1, 2]"}


def test_broken_folders_are_listed_and_not_fatal(tmp_path):
    group = write_seeds(tmp_path, {"none": [0.9, 0.91]})
    cases = {
        "running": (
            "config.yaml",
            "seed: 0\n",
            "no result.json: the run has not ended",
        ),
        "cut": ("result.json", '{"schema": 1, "sta', "result.json is not readable"),
        "list": ("result.json", "[1]", "not a table"),
        "future": (
            "result.json",
            json.dumps({"schema": 9}),
            "result.json has schema 9, this normlab reads 1",
        ),
        "empty": (
            "result.json",
            json.dumps({"schema": 1, "status": "finished", "metrics": {}}),
            "config.yaml",
        ),
        "odd": (
            "result.json",
            json.dumps({"schema": 1, "status": "lost", "metrics": {}}),
            "'lost'",
        ),
    }
    for name, (file, content, _) in cases.items():
        (group / name).mkdir()
        (group / name / file).write_text(content)
    runs = load_runs(tmp_path)
    reasons = {
        path.rpartition("/")[2]: reason for path, reason in runs.attrs["unreadable"]
    }
    assert len(runs) == 2
    assert reasons.keys() == cases.keys()
    for name, (_, _, expected) in cases.items():
        assert expected in reasons[name]


def test_damaged_config_is_listed(tmp_path):
    folder = write_run(tmp_path, "none")
    write_run(tmp_path, "none", seed=1)
    (folder / "config.yaml").write_text("seed: [1,\nnorm: }")
    runs = load_runs(tmp_path)
    assert len(runs) == 1
    assert "config.yaml is not readable" in runs.attrs["unreadable"][0][1]


def test_missing_environment_is_no_reason_to_drop_a_run(tmp_path):
    (write_run(tmp_path, "none") / "environment.json").unlink()
    assert len(load_runs(tmp_path)) == 1


def test_a_run_is_counted_once(tmp_path):
    folder = write_run(tmp_path / "a", "none")
    copy = tmp_path / "b" / "demo" / folder.name
    copy.mkdir(parents=True)
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    runs = load_runs(tmp_path / "a", tmp_path / "a" / "demo", folder, tmp_path / "b")
    assert len(runs) == 1
    assert "the same configuration as" in runs.attrs["unreadable"][0][1]


def test_nothing_found_says_what_a_run_is(tmp_path):
    with pytest.raises(
        ValueError, match="no runs found in .*config.yaml and result.json"
    ):
        load_runs(tmp_path)
    with pytest.raises(ValueError, match="nowhere must be a folder of runs"):
        load_runs(tmp_path / "nowhere")
    write_run(tmp_path, "none", schema=2)
    with pytest.raises(
        ValueError,
        match=(
            "no readable run.*schema 2, this normlab reads 1; read it with the version"
        ),
    ):
        load_runs(tmp_path)


def test_runs_from_before_a_setting_have_its_value(tmp_path):
    for norm in ("none", "custom"):
        write_run(tmp_path, norm)
    runs = load_runs(tmp_path).set_index("norm")
    assert runs.loc["custom", "norm.bias"] == True  # noqa: E712  (of numpy, and no NaN)
    assert runs["norm.bias"].isna()["none"]
    assert not runs["device.channels_last"].any()


def test_tables_from_before_a_setting_have_its_value(tmp_path):
    write_run(tmp_path, "none", 0, settings={"dataset": "csv"})
    write_run(tmp_path, "none", 1, settings={"dataset": "digits"})
    runs = load_runs(tmp_path).set_index("seed")
    for name in ("dataset.encoding", "dataset.load.encoding"):
        assert name in runs
        assert runs[name].isna().all()


def test_folders_may_be_a_list(tmp_path):
    for name in "abc":
        write_run(tmp_path / name, "none", seed=ord(name))
    assert len(load_runs([tmp_path / "a", str(tmp_path / "b")], tmp_path / "c")) == 3


def test_null_metrics_are_missing(tmp_path):
    write_run(
        tmp_path, "none", value=None, metrics={"test/loss": None, "val/loss": 0.5}
    )
    row = load_runs(tmp_path).iloc[0]
    assert np.isnan(row["test/loss"])
    assert row["val/loss"] == 0.5


def test_neither_loading_nor_comparing_imports_torch(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91], "custom": [0.92, 0.93]})
    code = (
        "import sys\nfrom normlab.compare import compare, load_runs\n"
        f"compare(load_runs({str(tmp_path)!r}))\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.yaml", "seed: 0\nchoices: [1]\n", "choices must be a table"),
        ("config.yaml", "seed: 0\nchoices: abc\n", "choices must be a table"),
        (
            "config.yaml",
            "seed: 0\nchoices: {norm: none}\na: " + "[" * 5000,
            "config.yaml is not readable",
        ),
        (
            "config.yaml",
            "seed: 0\nchoices: {norm: none}\na: 2020-13-45",
            "config.yaml is not readable (month must",
        ),
        ("result.json", "[" * 100_000, "result.json is not readable"),
        ("config_digest", [1], "config_digest must be a string, got [1]"),
        ("reason", {"a": 1}, "reason must be a string, got {'a': 1}"),
        ("cautions", [1], "cautions must be a list of strings, got [1]"),
        ("cautions", {"a": 1}, "cautions must be a list of strings, got {'a': 1}"),
        ("synchronized", 2, "synchronized must be true, false or null, got 2"),
    ],
)
def test_odd_content_is_listed(tmp_path, file, content, reason):
    folder = write_run(tmp_path, "none")
    write_run(tmp_path, "none", seed=1)
    if isinstance(content, str):
        (folder / file).write_text(content)
    else:
        result = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(result | {file: content}))
    runs = load_runs(tmp_path)
    assert len(runs) == 1
    assert runs.attrs["unreadable"][0][0] == str(folder)
    assert reason in runs.attrs["unreadable"][0][1]


@pytest.mark.parametrize("content", ["[1]", '"a"', '{"command": 3}', "[" * 100_000])
def test_an_odd_environment_leaves_the_origin_unknown(tmp_path, content):
    (write_run(tmp_path, "none") / "environment.json").write_text(content)
    assert "environment.command" not in load_runs(tmp_path)


def test_a_choice_that_is_a_list_can_still_be_compared(tmp_path):
    write_run(tmp_path, "none", settings={"choices.scheduler": ["a", "b"]})
    assert load_runs(tmp_path)["scheduler"].unique().tolist() == ['["a", "b"]']


def test_folders_that_may_not_be_read_are_listed(tmp_path, monkeypatch):
    group = write_seeds(tmp_path, {"none": [0.9, 0.91]})
    (group / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    runs = load_runs(tmp_path)
    assert len(runs) == 2
    assert runs.attrs["unreadable"] == [(str(group / "closed"), "Permission denied")]


def test_a_file_is_no_folder(tmp_path):
    path = write_run(tmp_path, "none") / "result.json"
    with pytest.raises(
        ValueError, match=r"result.json must be a folder of runs, .*; it is a file"
    ):
        load_runs(path)


def test_runs_from_before_a_setting_had_it_off(tmp_path):
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "none", 1, settings={"device.channels_last": True})
    runs = load_runs(tmp_path).set_index("seed")
    assert runs["device.channels_last"].to_dict() == {0: False, 1: True}


def test_a_number_too_large_for_any_figure_is_missing(tmp_path):
    write_run(
        tmp_path,
        "none",
        value=None,
        metrics={"test/accuracy": 10**400, "val/accuracy": 0.5},
    )
    row = load_runs(tmp_path).iloc[0]
    assert np.isnan(row["test/accuracy"])
    assert row["val/accuracy"] == 0.5


def test_texts_of_runs_can_be_written(tmp_path):
    environment = {"command": ["train.py", "data=\udcff"], "git": {"commit": "\ud800"}}
    write_run(
        tmp_path,
        "none",
        status="failed",
        result={"reason": "no file \udcff"},
        environment=environment,
    )
    row = load_runs(tmp_path).iloc[0]
    assert row["reason"] == "no file ?"
    assert row["environment.git.commit"] == "?"
    assert row["environment.command"] == "train.py 'data=?'"


def test_the_command_is_one_that_a_shell_takes(tmp_path):
    write_run(
        tmp_path,
        "none",
        environment={"command": ["train.py", "seed=range(4)", "data=a b"]},
    )
    assert (
        load_runs(tmp_path)["environment.command"][0]
        == "train.py 'seed=range(4)' 'data=a b'"
    )
