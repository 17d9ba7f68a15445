"""Files of evaluations: what they hold, and where they are written."""

import json
import os

import pytest

from normlab.evaluation.evaluate import Evaluation
from normlab.evaluation.output import write_evaluations

ONE = Evaluation("none", "running", {"test/accuracy": 0.5})
CSV = "run,shift,statistics,part,metric,value\ndemo,none,running,test,accuracy,0.5\n"


def test_a_table_has_a_row_per_metric(tmp_path):
    path = tmp_path / "scores.csv"
    write_evaluations(path, [ONE], {"run": "demo"})
    assert path.read_text() == CSV


@pytest.mark.parametrize("name", ["scores.json", "scores.csv"])
def test_a_link_keeps_its_target_and_the_target_is_written(tmp_path, name):
    target = tmp_path / "target"
    target.write_text("old")
    path = tmp_path / name
    path.symlink_to(target)
    write_evaluations(path, [ONE], {"run": "demo"})
    assert path.is_symlink()
    assert "accuracy" in target.read_text()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "scores.json"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_evaluations(path, [ONE], {"run": "demo"})
    found = json.loads(os.read(reader, 1000))
    os.close(reader)
    assert found == {"run": "demo", **ONE._asdict()}
    assert path.is_fifo()


def test_a_table_has_no_formulas(tmp_path):
    path = tmp_path / "scores.csv"
    harmful = Evaluation("none", "running", {"test/=1+1": 0.5})
    write_evaluations(path, [harmful], {"run": "=HYPERLINK"})
    _, row = path.read_text().splitlines()
    assert row == "'=HYPERLINK,none,running,test,'=1+1,0.5"
