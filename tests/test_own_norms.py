"""`norm=FILE.py:CLASS` on a command line."""

import subprocess
import sys

import pytest
from hydra.core.config_store import ConfigStore

from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.own_norms import take_own_norms

TWO = """
from torch import nn

class Left(nn.Identity):
    pass

class Right(nn.Identity):
    pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "")
    (tmp_path / "two.py").write_text(TWO)
    return tmp_path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("norm=two.py:Left", "norm=two.Left"),
        ("norm=none,two.py:Left,two.py:Right", "norm=none,two.Left,two.Right"),
        ("norm=choice(two.py:Left, torch)", "norm=choice(two.Left, torch)"),
        ("norm='./two.py:Right'", "norm='two.Right'"),
        ("++norm=two.py:Left", "++norm=two.Left"),
        ("norm=custom", "norm=custom"),
        ("dataset.root=two.py:Left", "dataset.root=two.py:Left"),
    ],
)
def test_files_become_options_of_the_group(folder, word, expected):
    assert take_own_norms([word, "seed=1"]) == [expected, "seed=1"]


def test_the_option_is_in_the_group(folder):
    take_own_norms(["norm=two.py:Left"])
    node = ConfigStore.instance().load("norm/two.Left.yaml").node
    assert node["norm"] == "two.Left"


def test_two_norms_of_one_name_are_refused(folder):
    (folder / "b").mkdir()
    (folder / "b" / "two.py").write_text(TWO.replace("pass", "a = 1"))
    with pytest.raises(ValueError, match=r"two are called two\.Left; rename one"):
        take_own_norms(["norm=two.py:Left,b/two.py:Left"])


def test_a_file_that_is_not_there_is_a_mistake(folder):
    with pytest.raises(ValueError, match=r"there\.py is no file"):
        take_own_norms(["norm=not/there.py:Left"])


def test_names_of_shipped_norms_import_no_torch():
    program = (
        "import sys\n"
        "from normlab.own_norms import take_own_norms\n"
        "print(take_own_norms(['norm=none,torch']), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['norm=none,torch'] False\n"
