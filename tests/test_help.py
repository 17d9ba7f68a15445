"""`--help` is made of the files of conf/ and their comments."""

import subprocess
import sys

import pytest

from normlab.config.schema import general_keys, groups, option_names
from normlab.help import asks_for_help, help_text


@pytest.fixture(autouse=True)
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_the_overview_has_every_group_option_and_key():
    text = help_text(["--help"], "normlab train")
    assert text.startswith("usage: normlab train [-m] [GROUP=NAME ...]")
    words = text.replace(",", " ").replace("*", "").split()
    for name in groups():
        assert f"\n  {name}" in text
        assert set(option_names(name)) <= set(words)
    assert "custom*, derf, dynamic_tanh" in " ".join(text.split())
    for key in general_keys().values():
        if key.default and not key.meaning.startswith("set by"):
            assert f"\n  {key.name}={key.default}\n" in text
    assert "passes over the training part" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("\n") < 215


def test_a_group_lists_its_options_and_what_they_must_have():
    text = help_text(["--help", "scheduler"], "normlab train")
    assert "\n  none                  A constant learning rate\n" in text
    assert text.endswith("A file of your own must have _target_, interval.")


@pytest.mark.parametrize("words", [["--help", "norm=ghost"], ["norm=ghost", "-h"]])
def test_an_option_lists_its_keys(words):
    lines = help_text([*words, "seed=3"], "normlab train").splitlines()
    assert lines[0] == "norm=ghost"
    assert "  norm.size=16" in lines
    assert lines[lines.index("  norm.affine=true") + 1] == (
        "      learn a scale and a shift per channel"
    )


def test_options_of_ones_own_are_listed(tmp_path):
    (tmp_path / "norm").mkdir()
    text = "# My norm. It is good.\n_target_: a.B\nsize: 3 # how large\n"
    (tmp_path / "norm" / "mine.yaml").write_text(text)
    flag = ["--config-dir", str(tmp_path)]
    assert "mine" in help_text(["--help", *flag], "x")
    assert "  mine                  My norm" in help_text(
        ["--help", "norm", *flag], "x"
    )
    assert "(whole number) how large" in help_text(["norm=mine", "-h", *flag], "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--help", "nrom"], "no group 'nrom', did you mean 'norm'"),
        (["--help", "norm=ghots"], "norm=ghots does not exist, did you mean 'ghost'"),
        (["--help", "--config-dir", "/nowhere"], "must be a folder"),
    ],
)
def test_what_does_not_exist_is_named(words, message):
    with pytest.raises(ValueError, match=message):
        help_text(words, "x")


def test_help_is_asked_for_by_a_flag():
    assert asks_for_help(["norm=none", "-h"])
    assert not asks_for_help(["norm=help", "--hydra-help"])


def test_help_imports_no_torch():
    code = (
        "import sys\nsys.argv = ['normlab train', '--help']\n"
        "from normlab.main import main\nmain()\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("usage: normlab train ")


def test_a_study_is_described_by_its_question_alone():
    text = help_text(["--help", "study"], "normlab train")
    assert "Do statistics over fewer samples make batch norm worse?\n" in text
    assert "train.py" not in text.partition("\n\n")[2]
