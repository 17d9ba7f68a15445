"""A stored run is scored on shifted data, by statistics that are chosen."""

import hashlib
import math

import pytest
import torch

from normlab.config.claim_metrics import SOURCES, STATISTICS
from normlab.evaluation.evaluate import evaluate_grid, evaluate_run
from normlab.training.scores import calibration_scores

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")

MANY = 10**6  # batches: more than any part has


def digests(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_nothing_of_the_stored_run_changes(stored):
    folder, result, _ = stored
    before = digests(folder)
    for statistics in STATISTICS:
        evaluate_run(folder, statistics=statistics, shift="contrast:5")
    assert digests(folder) == before
    assert evaluate_run(folder) == result["metrics"]


def test_an_inversion_costs_accuracy_and_adapted_statistics_regain_some(stored):
    folder, result, _ = stored
    clean = result["metrics"]["test/accuracy"]
    shifted = evaluate_run(folder, shift="contrast:5")
    adapted = evaluate_run(folder, statistics="adapted", shift="contrast:5")
    assert shifted["test/accuracy"] < clean - 0.2
    assert adapted["test/accuracy"] > shifted["test/accuracy"] + 0.1
    assert evaluate_run(folder, shift="contrast:5") == shifted


def test_adapted_statistics_are_those_of_the_scored_part(stored):
    folder, _, _ = stored
    shift = "brightness:5"
    adapted = evaluate_run(folder, statistics="adapted", shift=shift)
    for part in ("val", "test"):
        again = evaluate_run(
            folder,
            statistics="recalibrated",
            num_batches=MANY,
            recalibrate_on=f"scored/{part}",
            shift=shift,
        )
        assert again[f"{part}/loss"] == adapted[f"{part}/loss"]
    own = evaluate_run(folder, statistics="recalibrated", recalibrate_on="test")
    assert own["test/loss"] != adapted["test/loss"]


def test_a_large_pseudo_count_keeps_the_running_statistics(stored):
    folder, result, _ = stored
    mixed = evaluate_run(folder, statistics="mixed", pseudo_count=1e12)
    assert mixed == pytest.approx(result["metrics"], rel=1e-4)
    other = evaluate_run(folder, statistics="mixed", pseudo_count=1)
    assert other["test/loss"] != pytest.approx(mixed["test/loss"], rel=1e-4)


def test_tent_learns_from_batches_and_from_part_to_part_anew(stored):
    folder, _, _ = stored
    batch = evaluate_run(folder, statistics="batch")
    slow = evaluate_run(folder, statistics="tent", lr=1e-12)
    assert slow == pytest.approx(batch, rel=1e-5)
    fast = evaluate_run(folder, statistics="tent", lr=0.01)
    assert fast["test/loss"] != pytest.approx(batch["test/loss"], rel=1e-3)
    whole = evaluate_run(folder, statistics="tent", lr=0.01, batch_size=10**6)
    alone = evaluate_run(folder, statistics="batch", batch_size=10**6)
    assert whole == pytest.approx(alone)  # the only batch is scored before the step


def test_each_cell_of_a_grid_has_the_scores_that_it_has_alone(stored):
    folder, result, _ = stored
    shifts, kinds = ["contrast:5", "none", "noise:3"], ["recalibrated", "running"]
    cells = evaluate_grid(
        folder, shifts=shifts, statistics=kinds, parts=["test"], num_batches=2
    )
    assert [cell[:2] for cell in cells] == [(a, b) for a in shifts for b in kinds]
    for shift, statistics, metrics in cells:
        alone = evaluate_run(folder, statistics=statistics, shift=shift, num_batches=2)
        assert metrics == {
            "test/" + k: alone["test/" + k] for k in ("accuracy", "loss")
        }
    assert cells[3].metrics["test/loss"] == result["metrics"]["test/loss"]
    assert len({cell.metrics["test/loss"] for cell in cells}) == 6


def test_calibration_is_among_the_scores_if_it_is_asked_for(stored):
    folder, result, _ = stored
    metrics = evaluate_run(folder, calibration=True)
    assert metrics["test/nll"] == pytest.approx(metrics["test/loss"], rel=1e-5)
    for name in ("ece", "brier", "nll"):
        assert metrics[f"test/{name}"] == pytest.approx(result["scores"]["test"][name])


def test_scores_of_outputs_that_are_not_finite_are_none():
    scores = calibration_scores(torch.tensor([[math.nan, 0.0]]), torch.tensor([0]))
    assert set(scores) == {"ece", "brier", "nll"}
    assert all(math.isnan(value) for value in scores.values())


def test_scores_of_two_samples_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])  # 1/2 and 3/4
    scores = calibration_scores(logits, torch.tensor([0, 1]))
    assert scores["nll"] == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert scores["brier"] == pytest.approx((0.5 + 2 * 0.75**2) / 2)
    assert scores["ece"] == pytest.approx((0.5 + 0.75) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recalibrate_on": "tests"}, f"must be one of {', '.join(SOURCES)}, got"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"pseudo_count": -1}, "pseudo_count must be at least 0, got -1"),
        ({"pseudo_count": math.nan}, "pseudo_count must be at least 0, got nan"),
        ({"lr": 0}, "lr must be above 0, got 0"),
        ({"shift": "sleet:1"}, "shift must name a corruption, got 'sleet'"),
        ({"parts": ["test", "all"]}, "parts must name some of train, val, test, got"),
        ({"parts": []}, "parts must name some of train, val, test, got ''"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_run(tmp_path, **arguments)
