"""The command `normlab` and its subcommands."""

import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

import normlab
from normlab import __main__ as command

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def call(monkeypatch, capsys):
    """call(*words): exit code, output and errors of `normlab WORDS`."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["normlab", *words])
        code = 0
        try:
            command.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_the_version_is_that_of_the_package(call):
    assert normlab.__version__ == metadata.version("normlab")
    assert call("--version") == (0, f"normlab {normlab.__version__}\n", "")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_names_every_command(call, words):
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in out for name in command.COMMANDS)


def test_a_misspelt_command_is_answered_with_the_near_one(call):
    code, out, err = call("trian")
    assert (code, out) == (2, "")
    assert err == (
        "error: normlab has no command 'trian', did you mean 'train'?; "
        "it has train, compare, plan, evaluate, inspect, predict, export, find-lr, "
        "why, check, jobs\n"
    )


@pytest.mark.parametrize("name", command.COMMANDS)
def test_a_command_gets_the_arguments_behind_its_name(call, monkeypatch, name):
    seen = []
    monkeypatch.setitem(command.COMMANDS, name, lambda: seen.append(sys.argv))
    assert call(name, "a=1", "--flag")[0] == 0
    assert seen == [[f"normlab {name}", "a=1", "--flag"]]


@pytest.mark.parametrize(
    "name",
    [
        "compare",
        "evaluate",
        "inspect",
        "predict",
        "export",
        "find-lr",
        "why",
        "check",
        "jobs",
    ],
)
def test_help_of_a_command_shows_its_own_usage(call, name):
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: normlab {name} ")


def test_console_scripts_point_to_functions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"normlab", "normlab-train", "normlab-compare"}
    for target in project["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_train_is_the_same_program_as_train_py(tmp_path):
    words = ["norm=none", "dry_run=true", "seed=4"]
    outputs = [
        subprocess.run(
            [sys.executable, *start, *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for start in (["-m", "normlab", "train"], [str(ROOT / "train.py")])
    ]
    assert outputs[0] == outputs[1]
    assert "none-sgd-lr0.1-seed4-" in outputs[0]
