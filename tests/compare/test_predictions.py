"""Test predictions as they are read from a run folder."""

import json

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.checksums import FILES, file_digests
from normlab.compare.predictions import have_predictions, read_predictions
from normlab.npz import npz_bytes

CLASSES = {
    "target": np.array([0, 1, 1], np.int16),
    "predicted": np.array([0, 0, 1], np.int16),
}
VALUES = {name: array.astype(np.float32) for name, array in CLASSES.items()}


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path, "none", 0)


def store(folder, arrays):
    (folder / "predictions.npz").write_bytes(npz_bytes(arrays))


def test_rows_are_counted_unless_they_are_stored(folder):
    assert read_predictions(folder) is None
    store(folder, CLASSES)
    counted = read_predictions(folder)
    assert counted.rows.tolist() == [0, 1, 2]
    assert counted.are_classes
    store(folder, CLASSES | {"rows": np.array([0, 1, 5], np.int32)})
    named = read_predictions(folder)
    assert named.rows.tolist() == [0, 1, 5]
    assert counted.same_samples(counted)
    assert not counted.same_samples(named)
    store(folder, VALUES)
    assert not read_predictions(folder).are_classes


def test_two_runs_with_predictions_are_enough(tmp_path):
    folders = [write_run(tmp_path, "none", seed) for seed in range(3)]
    runs = pd.DataFrame({"folder": folders})
    found = []
    for folder in folders:
        found.append(have_predictions(runs))
        store(folder, CLASSES)
    assert [*found, have_predictions(runs)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicted": np.zeros(2, np.int16)}, "one value per sample"),
        ({"predicted": np.zeros(3, np.float32)}, "classes or values, got .* ifi"),
        ({"rows": np.zeros(3, np.float32)}, "classes or values, got .* iif"),
        ({"target": np.zeros(0, np.int16)}, "one value per sample"),
        (dict.fromkeys(CLASSES, np.zeros(0, np.int16)), "one value per sample"),
        (VALUES | {"predicted": np.full(3, np.nan, np.float32)}, "must be finite"),
    ],
)
def test_arrays_that_are_no_predictions_are_refused(folder, changes, message):
    store(folder, CLASSES | changes)
    with pytest.raises(ValueError, match=message) as refused:
        read_predictions(folder)
    assert str(folder / "predictions.npz") in str(refused.value)


def test_a_changed_file_or_a_link_is_refused(folder, tmp_path):
    store(folder, CLASSES)
    path = folder / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {FILES: file_digests(folder)}))
    assert read_predictions(folder) is not None
    store(folder, CLASSES | {"predicted": CLASSES["target"]})
    with pytest.raises(ValueError, match="was changed after the run ended"):
        read_predictions(folder)
    (folder / "predictions.npz").unlink()
    (folder / "predictions.npz").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match="must be a regular file"):
        read_predictions(folder)
    store_alone = {"score": np.zeros(3, np.float16)}
    (folder / "predictions.npz").unlink()
    path.write_text(json.dumps(result))
    store(folder, store_alone)
    with pytest.raises(ValueError, match="must hold target and predicted"):
        read_predictions(folder)
