"""Scores that are computed once and kept in the folder of the run."""

import json
import math
import shutil

import pytest

from normlab.config.claim_metrics import EVALUATION
from normlab.evaluation.evaluate import evaluate_run
from normlab.evaluation.stored import evaluation_scores, stored_scores
from normlab.terminal import print_once

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")
SCORES = {"test/accuracy": 0.1 + 0.2, "test/loss": math.nan}


@pytest.fixture
def folder(tmp_path):
    """A finished run whose result names its best state."""
    result = {"status": "finished", "best_checkpoint": "abc"}
    (tmp_path / "result.json").write_text(json.dumps(result))
    return tmp_path


@pytest.fixture
def compute():
    """A function that makes scores and counts how often."""

    def make():
        make.calls += 1
        return dict(SCORES)

    make.calls = 0
    return make


def test_scores_are_computed_once_for_equal_settings(folder, compute):
    first = stored_scores(folder, {"shift": "blur:1", "lr": 0.1}, compute)
    again = stored_scores(folder, {"lr": 0.1, "shift": "blur:1"}, compute)
    assert compute.calls == 1
    for found in (first, again):
        assert found["test/accuracy"] == SCORES["test/accuracy"]
        assert math.isnan(found["test/loss"])
    stored_scores(folder, {"shift": "blur:2", "lr": 0.1}, compute)
    assert compute.calls == 2
    assert len(list((folder / "evaluations").iterdir())) == 2


def test_another_best_state_is_scored_again(folder, compute):
    stored_scores(folder, {}, compute)
    result = {"status": "finished", "best_checkpoint": "def"}
    (folder / "result.json").write_text(json.dumps(result))
    stored_scores(folder, {}, compute)
    stored_scores(folder, {}, compute)
    assert compute.calls == 2


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"scores": {"test/accuracy": 1.0}}',
        '{"schema": 1, "of": "abc", "settings": {}, "scores": {"test/accuracy": 1}}',
    ],
)
def test_a_file_that_was_damaged_or_changed_is_computed_again(folder, compute, content):
    stored_scores(folder, {}, compute)
    (path,) = (folder / "evaluations").iterdir()
    whole = path.read_bytes()
    path.write_text(content)
    found = stored_scores(folder, {}, compute)
    assert found["test/accuracy"] == SCORES["test/accuracy"]
    assert compute.calls == 2
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b"0.3", b"0.9"))
    assert stored_scores(folder, {}, compute)["test/accuracy"] == pytest.approx(0.3)
    assert compute.calls == 3


def test_a_link_is_neither_read_nor_written(folder, compute, tmp_path_factory, capsys):
    print_once.cache_clear()
    other = tmp_path_factory.mktemp("other")
    (folder / "evaluations").symlink_to(other)
    for _ in range(2):
        found = stored_scores(folder, {}, compute)
        assert found["test/accuracy"] == SCORES["test/accuracy"]
    assert compute.calls == 2
    assert list(other.iterdir()) == []
    assert capsys.readouterr().err.splitlines() == [
        "note: scores could not be stored beside the runs (evaluations is a link); "
        "they are computed again next time"
    ]


def test_an_evaluation_is_that_of_the_function(stored, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stored[0], folder)
    settings = EVALUATION | {"shift": "contrast:5", "statistics": "adapted"}
    expected = evaluate_run(
        stored[0], shift="contrast:5", statistics="adapted", calibration=True
    )
    assert evaluation_scores(folder, settings) == expected
    shutil.rmtree(folder / "checkpoints")  # no more is computed
    assert evaluation_scores(folder, settings) == expected
    with pytest.raises(ValueError, match=r"best\.ckpt"):
        evaluation_scores(folder, EVALUATION)
