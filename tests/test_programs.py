"""Messages name a command as the user calls it."""

import pytest

from normlab import programs
from normlab.__main__ import COMMANDS
from normlab.programs import SCRIPTS, program


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
