"""Grades as autograders read them, and verdicts from other processes."""

import os
from pathlib import Path

import pytest

from normlab.check import submissions
from normlab.check.examination import broken
from normlab.check.findings import Examination, Outcome
from normlab.check.grades import as_json, check_csv
from normlab.check.properties import PROPERTIES
from normlab.check.submissions import Grade, Limits, find_submissions
from normlab.check.verdicts import from_dict, to_dict

EXAMINATION = broken("MyNorm", "the file cannot be imported", 3, "layer")
GRADE = Grade("alice", "examined", EXAMINATION, seconds=1.5)


def test_a_layer_that_is_not_there_has_no_points():
    assert (EXAMINATION.points, EXAMINATION.possible) == (0, 31)
    (finding,) = EXAMINATION.findings
    assert finding.sentence == "the file cannot be imported."
    assert finding.line == 3


def test_gradescope_gets_one_test_per_property():
    results = as_json(GRADE, "gradescope")
    assert results["execution_time"] == 1.5
    first = results["tests"][0]
    assert first["name"] == "can be built"
    assert (first["score"], first["max_score"], first["status"]) == (0, 2, "failed")
    assert "the file cannot be imported." in first["output"]
    assert results["tests"][1]["output"] == "Not examined, because it cannot be built."
    allowed = {"name", "score", "max_score", "status", "output", "visibility"}
    assert all(set(test) == allowed for test in results["tests"])


def test_otter_gets_one_file_per_property():
    (first, *rest) = as_json(GRADE, "otter")["test_file_results"]
    assert first["filename"] == "construction.py"
    assert first["points"] == 2
    (result,) = first["test_case_results"]
    assert result["passed"] is False
    assert set(result["test_case"]) == {
        *("name", "code", "points", "hidden", "success_message", "failure_message"),
    }
    assert sum(one["points"] for one in (first, *rest)) == 31


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match="--json must be one of gradescope, otter"):
        as_json(GRADE, "canvas")


def test_a_verdict_comes_back():
    assert from_dict(to_dict(EXAMINATION)) == EXAMINATION


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"outcomes": {"beauty": {"status": "right", "note": ""}}}, "no property"),
        ({"findings": [{"fault": "x"}]}, "this is no examination"),
        ({"outcomes": None}, "this is no examination"),
        ({"outcomes": {}}, "is right and has a fault"),
    ],
)
def test_what_is_no_verdict_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        from_dict(to_dict(EXAMINATION) | change)


def test_points_are_those_of_the_properties():
    examination = Examination("MyNorm")
    examination.outcomes = {
        "call": Outcome("right"),
        "axes": Outcome("wrong"),
        "half": Outcome("remark"),
    }
    assert examination.points == PROPERTIES["call"].points == 2
    assert examination.possible == 6


def test_submissions_are_files_and_folders_with_one_file(tmp_path):
    for name in ("a.py", "b/x.py", "c/deep/x.py", "c/other.txt", "d/x.py", "d/y.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.py").write_text("")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    found = find_submissions(tmp_path)
    assert found == {
        "a": tmp_path / "a.py",
        "b": tmp_path / "b/x.py",
        "c": tmp_path / "c/deep/x.py",
        "d": None,
    }
    assert find_submissions(tmp_path, "y.py")["d"] == tmp_path / "d/y.py"


def test_a_folder_without_submissions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no submissions"):
        find_submissions(tmp_path)


def test_a_submission_is_named_as_it_lies_in_every_folder(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "my[1].py"
    path.write_text("")
    assert find_submissions(tmp_path, "my[1].py") == {"a": path}
    absolute = str(tmp_path / "my.py")
    with pytest.raises(ValueError, match=f"such as my.py, got {absolute}$"):
        find_submissions(tmp_path, absolute)


def test_a_table_that_cannot_be_written_is_refused_and_an_older_one_kept(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("alice")
    check_csv(path)
    assert path.read_text() == "alice"
    for wrong in (tmp_path, tmp_path / "none" / "grades.csv"):
        with pytest.raises(ValueError, match="--csv must be a file in a folder"):
            check_csv(wrong)


@pytest.mark.parametrize(("code", "name"), [(-9, "SIGKILL"), (-40, "signal 40")])
def test_every_signal_has_a_name(code, name):
    answer = {"code": code, "timed_out": False}
    ended = submissions._how_it_ended(answer, "", Limits())
    assert ended == ("crashed", f"its process was ended by {name}")


def test_a_forged_verdict_is_none(tmp_path):
    path = tmp_path / "verdict.json"
    path.write_text("[" * 100_000)
    assert submissions._read_verdict(path, "token") is None


def test_a_table_may_go_to_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    check_csv(tmp_path / "pipe")
    check_csv(Path("/dev/stdout"))
