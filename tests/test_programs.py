"""Messages name a command as the user calls it."""

import pytest

from normlab import programs
from normlab.__main__ import COMMANDS
from normlab.programs import SCRIPTS, program, typed_command


@pytest.mark.parametrize(
    ("called", "train", "jobs"),
    [
        ("dir/train.py", "python train.py", "python scripts/jobs.py"),
        ("scripts/compare.py", "python train.py", "python scripts/jobs.py"),
        ("", "python train.py", "python scripts/jobs.py"),  # an interactive Python
        ("normlab compare", "normlab train", "normlab jobs"),
        ("bin/normlab", "normlab train", "normlab jobs"),
        ("bin/normlab-compare", "normlab-train", "normlab jobs"),
        ("bin/normlab-train.exe", "normlab-train", "normlab jobs"),
    ],
)
def test_a_command_is_called_like_the_one_that_runs(monkeypatch, called, train, jobs):
    monkeypatch.setattr("sys.argv", [called])
    assert (program("train"), program("jobs")) == (train, jobs)


def test_without_a_checkout_there_are_no_scripts(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "CHECKOUT", tmp_path)
    monkeypatch.setattr("sys.argv", ["notebook.py"])
    assert program("train") == "normlab train"
    (tmp_path / "train.py").touch()
    assert program("train") == "python train.py"


@pytest.mark.parametrize("command", SCRIPTS)
def test_scripts_are_in_the_checkout_and_stand_for_commands(command):
    assert (programs.CHECKOUT / SCRIPTS[command]).is_file()
    assert command in COMMANDS


def test_a_command_without_a_script_is_one_of_the_wheel(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    assert program("another") == "normlab another"


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["train.py"], "python train.py"),
        (["train.py", "data=a b", "x=;y"], "python train.py 'data=a b' 'x=;y'"),
        (["normlab train", "-m", "seed=0,1"], "normlab train -m seed=0,1"),
        (["normlab-train", "seed=0"], "normlab-train seed=0"),
        (["-c", "import evil"], ""),
        (["ipykernel_launcher.py", "-f", "kernel.json"], ""),
        ([], ""),
    ],
)
def test_a_stored_command_is_typed_if_it_trains(words, typed):
    assert typed_command(words) == typed
