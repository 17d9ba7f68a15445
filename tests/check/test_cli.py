"""The command `check`."""

import csv
import json
from pathlib import Path

import pytest

from normlab.check.cli import main, parse_options, split_wanted

HERE = Path(__file__).parent
WRONG = HERE / "wrong"
RIGHT = HERE / "right"
ENDLESS = "while True:\n    pass\n"
EXITS = "import os\nos._exit(0)\n"
WRITES = "open('junk', 'wb').write(b'0' * 10**9)\n"
FORGES = (
    "import os\n"
    "for number in range(64):\n"
    "    try:\n"
    '        os.write(number, b\'{"token": "", "examination": {}}\')\n'
    "    except OSError:\n"
    "        pass\n"
    "os._exit(0)\n"
)
KILLS = (
    "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(9)\n"
)
EXITS_IN_FORWARD = (
    "import sys\n"
    "from torch import nn\n"
    "class Norm(nn.Module):\n"
    "    def forward(self, x):\n"
    "        sys.exit(0)\n"
)


@pytest.fixture
def check(capsys):
    """check(*words): exit code, output and errors of the command."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        return end.value.code, *capsys.readouterr()

    return run


def test_a_wrong_norm_is_explained_in_80_columns(check):
    code, out, err = check(f"{WRONG}/notebook_alexnet.py:MyBatchNorm1d")
    assert (code, err) == (1, "")
    text = " ".join(out.split())
    assert "MyBatchNorm1d, compared with batch norm; it takes (N, C)" in text
    assert "too small by the factor n / (n - 1) = 1.2000 for n = 6." in text
    assert "line 26: self.running_var = (1 - m) * self.running_var + m * var" in text
    assert "fix Average the unbiased variance" in text
    assert "4 faults: 37 of 46 points. --explain shows reasons and code." in text
    assert "ms forward and backward for input (256, 64), BatchNorm1d" in text
    assert all(len(line) <= 80 for line in out.splitlines())


def test_code_is_shown_to_those_who_ask(check):
    norm = f"{WRONG}/averages.py:BiasedVariance"
    code, without, _ = check(norm, "--like", "batch")
    assert code == 1
    assert "m * var * n / (n - 1))" not in without
    code, explained, _ = check(norm, "--like", "batch", "--explain")
    assert code == 1
    assert "m * var * n / (n - 1))" in explained
    assert "With batches of 2 the difference is a factor of 2" in " ".join(
        explained.split()
    )


def test_a_right_norm_ends_with_0(check):
    code, out, err = check(f"{RIGHT}/textbook.py:BatchNorm")
    assert (code, err) == (0, "")
    assert "Nothing is wrong: 46 of 46 points." in out


def test_remarks_count_if_that_is_wanted(check):
    norm = f"{WRONG}/half.py:Overflows"
    assert check(norm, "--like", "batch")[0] == 0
    code, out, _ = check(norm, "--like", "batch", "--strict")
    assert code == 1
    assert "remark" in out


def test_options_go_to_the_constructor(check):
    norm = f"{RIGHT}/others.py:GroupNorm"
    assert check(norm, "num_groups=1", "eps=1e-3", "--like", "group")[0] == 0
    code, _, err = check(norm, "num_group=4")
    assert code == 2
    assert "has no option 'num_group', did you mean 'num_groups'?" in err


def test_a_file_that_cannot_be_imported_is_a_fault(check, tmp_path):
    path = tmp_path / "blanks.py"
    path.write_text("mean =\n")
    code, out, err = check(path)
    assert (code, err) == (1, "")
    assert "line 1: invalid syntax: mean =" in " ".join(out.split())
    assert "0 of 46 points" in out


def test_a_kind_is_checked_also_if_the_file_cannot_be_imported(check, tmp_path):
    path = tmp_path / "blanks.py"
    path.write_text("mean =\n")
    code, out, err = check(path, "--like", "bath")
    assert (code, out) == (2, "")
    assert err.startswith("error: --like must be one of batch, layer, ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "there is nothing to check; name a layer as FILE.py:CLASS"),
        (("nowhere.py:Norm",), "nowhere.py is no file"),
        (("custom",), "must be named FILE.py:CLASS, got 'custom'"),
        ((f"{RIGHT}/textbook.py:BatchNrom",), "did you mean 'BatchNorm'?"),
        ((f"{RIGHT}/textbook.py", "--like", "bath"), "--like must be one of batch"),
        ((f"{RIGHT}/textbook.py", "--json", "canvas"), "--json must be one of grade"),
        ((f"{RIGHT}/textbook.py", "momentum"), "must be NAME=VALUE, got 'momentum'"),
        ((f"{RIGHT}/textbook.py", "--csv", "x.csv"), "--csv is for a folder"),
        (("--folder", "nowhere"), "--folder must be a folder of submissions"),
        (("--folder", WRONG, "--json"), "--folder cannot be combined with --json"),
        (("--folder", WRONG, "--jobs", "0"), "--jobs must be at least 1, got 0"),
        (("--folder", WRONG, "--seconds", "0"), "--seconds must be at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(check, words, sentence):
    code, out, err = check(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_values_of_options_are_those_of_yaml():
    found = parse_options(["a=1", "b=1e-5", "c=true", "d=[1, 2]", "e=text", "f=null"])
    values = {"a": 1, "b": 1e-5, "c": True, "d": [1, 2], "e": "text", "f": None}
    assert found == values


def test_what_every_submission_has_may_be_a_file_a_class_or_both():
    assert split_wanted("norms.py:MyNorm") == ("norms.py", "MyNorm")
    assert split_wanted("norms.py") == ("norms.py", "")
    assert split_wanted("MyNorm") == ("", "MyNorm")


def test_a_class_of_submissions_is_graded_whatever_they_do(check, tmp_path):
    folder = tmp_path / "submissions"
    (folder / "carol").mkdir(parents=True)
    (folder / "dave").mkdir()
    submissions = {
        "alice.py": (RIGHT / "textbook.py").read_text(),
        "bob.py": (WRONG / "notebook_alexnet.py").read_text(),
        "carol/my_norm.py": (WRONG / "without_module.py").read_text(),
        "exits.py": EXITS,
        "=forges.py": FORGES,
        "in_forward.py": EXITS_IN_FORWARD,
        "kills.py": KILLS,
        "writes.py": WRITES,
    }
    for name, text in submissions.items():
        (folder / name).write_text(text)
    table = tmp_path / "grades.csv"
    code, out, _ = check("--folder", folder, "--csv", table)
    assert code == 0
    assert "46 of 46" in out

    rows = read_table(table)
    points = {row["submission"]: int(row["points"]) for row in rows}
    assert list(points) == sorted(points)  # in whatever order they have ended
    assert points == {
        "'=forges": 0,
        "alice": 46,
        "bob": 37,
        "carol": 0,
        "dave": 0,
        "exits": 0,
        "in_forward": 2,
        "kills": 0,
        "writes": 0,
    }
    by_name = {row["submission"]: row for row in rows}
    assert by_name["bob"]["faults"] == (
        "silent_shape; one_value_silent; biased_variance; graph_kept"
    )
    assert (by_name["bob"]["unbiased"], by_name["alice"]["unbiased"]) == ("0", "1")
    assert {row["possible"] for row in rows} == {"46"}
    statuses = {name: row["status"] for name, row in by_name.items()}
    assert statuses["dave"] == "not found"
    for name in ("exits", "'=forges", "kills"):
        assert statuses[name] == "ended early"
    assert by_name["carol"]["faults"] == "no_module"
    assert "File too large" in by_name["writes"]["note"]
    assert not Path("junk").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "grades.csv",
        "submissions",
    ]


def test_submissions_that_do_not_end_are_stopped(check, tmp_path):
    folder = tmp_path / "submissions"
    folder.mkdir()
    for name in ("one.py", "two.py"):
        (folder / name).write_text(ENDLESS)
    table = tmp_path / "grades.csv"
    code, _, _ = check("--folder", folder, "--csv", table, "--seconds", 1)
    assert code == 0
    rows = read_table(table)
    assert [row["status"] for row in rows] == ["out of time"] * 2
    assert [row["points"] for row in rows] == ["0", "0"]


def read_table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_autograder_gets_points_per_property(check, tmp_path):
    path = tmp_path / "prints.py"
    text = (WRONG / "averages.py").read_text()
    path.write_text(f"print('printed by the submission')\n{text}")
    code, out, err = check(f"{path}:BiasedVariance", "--json")
    assert (code, err) == (1, "")
    results = json.loads(out)
    scores = {test["name"]: test["score"] for test in results["tests"]}
    assert scores["averages the unbiased variance"] == 0
    assert sum(scores.values()) == 45
    assert sum(test["max_score"] for test in results["tests"]) == 46
    failed = [test for test in results["tests"] if test["status"] == "failed"]
    assert len(failed) == 1
    assert "n / (n - 1) = 1.2000" in failed[0]["output"]
    assert "var * n / (n - 1)" not in failed[0]["output"]
    assert results["stdout_visibility"] == "hidden"
