"""What stored test predictions add to a comparison."""

import numpy as np
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.test_part import read_test_part
from normlab.npz import npz_bytes

TARGETS = np.arange(40, dtype=np.int16) % 4


def store_classes(folder, norm, seed, wrong, rows=None, settings=None):
    """A run that takes some samples for the class after theirs."""
    predicted = TARGETS.copy()
    predicted[wrong] = (predicted[wrong] + 1) % 4
    value = 1 - len(wrong) / len(TARGETS)
    run = write_run(folder, norm, seed, value, settings=settings)
    arrays = {"target": TARGETS, "predicted": predicted}
    if rows is not None:
        arrays["rows"] = rows
    (run / "predictions.npz").write_bytes(npz_bytes(arrays))
    return run


def store_values(folder, norm, seed, errors):
    target = np.linspace(0, 1, len(errors), dtype=np.float32)
    predicted = (target + errors).astype(np.float32)
    error = predicted.astype(float) - target
    metrics = {"test/rmse": np.sqrt((error**2).mean())}
    run = write_run(folder, norm, seed, value=None, metrics=metrics)
    arrays = {"target": target, "predicted": predicted}
    (run / "predictions.npz").write_bytes(npz_bytes(arrays))


def test_a_contrast_has_both_intervals_and_its_samples(tmp_path):
    for seed in range(6):
        store_classes(tmp_path, "none", seed, [3, 7, 10 + seed])
        store_classes(tmp_path, "custom", seed, [20 + seed])
    part = read_test_part(compare(load_runs(tmp_path)))
    (row,) = part.noise
    assert (row["arm"], row["baseline"]) == ("custom", "none")
    assert (row["n"], row["samples"]) == (6, 40)
    assert row["difference"] == pytest.approx(2 / 40)
    # All six differences are equal, so that the seeds have no spread.
    assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((0.05, 0.05))
    assert row["low"] < 0 < 0.1 < row["high"]
    assert row["share"] == 1
    first, second, *others = part.samples
    assert (first["sample"], second["sample"]) == (3, 7)
    answers = [first[key] for key in ("target", "predicted", "predicted_baseline")]
    assert answers == [3, 3, 0]
    assert (first["mean"], first["mean_baseline"], first["n"]) == (1, 0, 6)
    assert len(others) == 12
    assert part.warnings == part.single == []


def test_every_group_has_contrasts_of_its_own_runs(tmp_path):
    for rate, wrong in ((0.1, [1, 2]), (0.2, [1, 2, 3, 4])):
        settings = {"optimizer.lr": rate}
        for seed in range(2):
            store_classes(tmp_path, "none", seed, wrong, settings=settings)
            store_classes(tmp_path, "custom", seed, [], settings=settings)
    part = read_test_part(compare(load_runs(tmp_path)))
    found = {row["where"]: row["difference"] for row in part.noise}
    expected = {"optimizer.lr=0.1": 2 / 40, "optimizer.lr=0.2": 4 / 40}
    assert found == pytest.approx(expected)


def test_a_single_arm_has_no_contrasts(tmp_path):
    for seed in range(2):
        store_classes(tmp_path, "none", seed, [3, 7])
    part = read_test_part(compare(load_runs(tmp_path)))
    assert part.noise == part.samples == part.single == []


def test_two_single_runs_are_compared_by_sample(tmp_path):
    rows = np.arange(40, dtype=np.int32) * 3
    store_classes(tmp_path, "none", 0, [1, 2, 3, 4, 5], rows)
    store_classes(tmp_path, "custom", 4, [5, 6], rows)
    comparison = compare(load_runs(tmp_path))
    assert comparison.contrasts["verdict"].tolist() == ["cannot tell"]
    part = read_test_part(comparison)
    (row,) = part.single
    counts = [row[key] for key in ("both", "only_arm", "only_baseline", "neither")]
    assert counts == [34, 4, 1, 1]
    assert row["p"] == pytest.approx(2 * 6 / 32)
    assert part.noise == []
    assert [sample["sample"] for sample in part.samples] == [3, 6, 9, 12, 18]


def test_single_runs_need_predictions_of_both(tmp_path):
    store_classes(tmp_path, "none", 0, [1])
    write_run(tmp_path, "custom", 0)
    with pytest.raises(ValueError, match="at least two runs"):
        compare(load_runs(tmp_path))


def test_errors_of_values_are_resampled_before_the_root(tmp_path):
    random = np.random.default_rng(0)
    for seed in range(4):
        store_values(tmp_path, "none", seed, random.normal(0, 1, 60))
        store_values(tmp_path, "custom", seed, random.normal(0, 0.5, 60))
    part = read_test_part(compare(load_runs(tmp_path), metric="test/rmse"))
    (row,) = part.noise
    assert row["difference"] == pytest.approx(-0.5, abs=0.15)
    assert row["low"] < row["difference"] < row["high"] < 0
    assert part.samples[0]["mean"] != part.samples[0]["mean_baseline"]


def test_runs_without_usable_predictions_are_named(tmp_path):
    for seed in range(3):
        store_classes(tmp_path, "none", seed, [1, 2])
        store_classes(tmp_path, "custom", seed, [1])
    write_run(tmp_path, "none", 3, 0.9)
    wrong = store_classes(tmp_path, "none", 4, [1, 2, 3])
    other = (wrong / "predictions.npz").read_bytes()
    score = store_classes(tmp_path, "none", 5, [1])
    (score / "predictions.npz").write_bytes(other)
    store_classes(tmp_path, "none", 6, [1], np.arange(40, dtype=np.int32) + 1)
    part = read_test_part(compare(load_runs(tmp_path), metric="test/accuracy"))
    (row,) = part.noise
    assert (row["n"], row["n_baseline"]) == (3, 3)
    (warning,) = part.warnings
    assert warning.startswith("3 runs have no usable test predictions")
    assert "seed3" in warning


def test_one_run_without_predictions_is_named_in_the_singular(tmp_path):
    for seed in range(2):
        store_classes(tmp_path, "none", seed, [1, 2])
        store_classes(tmp_path, "custom", seed, [1])
    write_run(tmp_path, "none", 2, 0.9)
    (warning,) = read_test_part(compare(load_runs(tmp_path))).warnings
    assert warning.startswith(
        "1 run has no usable test predictions and is left out of what is said about "
        "the test set; the first: "
    )


def test_other_metrics_folds_and_old_runs_have_nothing(tmp_path):
    for seed in range(2):
        for norm in ("none", "custom"):
            write_run(tmp_path / "old", norm, seed, 0.9 + 0.01 * seed)
    old = compare(load_runs(tmp_path / "old"))
    for comparison in (
        old,
        compare(load_runs(tmp_path / "old"), metric="val/accuracy"),
    ):
        part = read_test_part(comparison)
        assert part.noise == part.single == part.samples == part.warnings == []
