"""Confusion matrices of several runs."""

import numpy as np
import pytest

from compare.helpers import write_run
from normlab.compare import load_runs
from normlab.compare.confusions import class_names, mean_confusion


def write(folder, seed, matrix, classes=("cat", "dog")):
    scores = {"test": {"confusion_matrix": matrix, "macro_f1": 0.25, "auroc": None}}
    write_run(folder, "none", seed, result={"scores": scores, "classes": classes})


def test_the_mean_is_that_of_the_shares_of_each_class(tmp_path):
    write(tmp_path, 0, [[9, 1], [0, 4]])
    write(tmp_path, 1, [[1, 1], [1, 0]])
    runs = load_runs(tmp_path)
    found = mean_confusion(runs, "test")
    np.testing.assert_allclose(found, [[0.7, 0.3], [0.5, 0.5]])
    assert class_names(runs) == ["cat", "dog"]
    assert mean_confusion(runs, "val") is None


def test_classes_are_those_of_the_first_run_that_names_any(tmp_path):
    write(tmp_path, 0, None, classes=None)
    assert class_names(load_runs(tmp_path)) == []
    write(tmp_path, 1, [[1, 0], [0, 1]])
    write(tmp_path, 2, [[1, 0], [0, 1]], classes=("owl", "fox"))
    assert class_names(load_runs(tmp_path)) == ["cat", "dog"]


def test_a_class_without_samples_has_no_shares(tmp_path):
    write(tmp_path, 0, [[2, 2], [0, 0]])
    found = mean_confusion(load_runs(tmp_path), "test")
    np.testing.assert_array_equal(found, [[0.5, 0.5], [np.nan, np.nan]])


@pytest.mark.parametrize("matrix", [None, [[1, 2]], [["a"]], [[1, 2], [3]], [[-1]], 7])
def test_what_is_no_matrix_is_left_out(tmp_path, matrix):
    write(tmp_path, 0, matrix)
    runs = load_runs(tmp_path)
    assert mean_confusion(runs, "test") is None
    write(tmp_path, 1, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(
        mean_confusion(load_runs(tmp_path), "test"), np.eye(2)
    )


def test_runs_with_other_classes_have_no_mean(tmp_path):
    write(tmp_path, 0, [[1, 0], [0, 1]])
    write(tmp_path, 1, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert mean_confusion(load_runs(tmp_path), "test") is None


def test_scores_that_are_numbers_are_columns(tmp_path):
    write(tmp_path, 0, [[1, 0], [0, 1]])
    (row,) = load_runs(tmp_path).to_dict("records")
    assert row["test/macro_f1"] == 0.25
    assert "test/auroc" not in row
    assert "test/confusion_matrix" not in row


@pytest.mark.parametrize("scores", [[1], {"test": 3}])
def test_scores_that_are_no_tables_are_refused(tmp_path, scores):
    write_run(tmp_path, "none", 0, result={"scores": scores})
    with pytest.raises(ValueError, match="scores must hold a table for each part"):
        load_runs(tmp_path)
