"""Scores of all samples at once, by hand and against other libraries."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import multiclass_auroc

from normlab.metrics import SCORES, direction_is_known, higher_is_better
from normlab.training.scores import (
    Outputs,
    class_auroc,
    detailed_scores,
    numbers_only,
    score_names,
)

# Two right and two wrong: the predicted classes are 0, 1, 1, 0.
PROBABILITIES = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.9, 0.1, 0.0]]
)
CLASSES = torch.tensor([0, 1, 2, 1])
LOGITS = PROBABILITIES.clamp(min=1e-6).log()


@pytest.fixture
def random_outputs():
    generator = torch.Generator().manual_seed(4)
    classes = torch.randint(7, (300,), generator=generator)
    logits = torch.randn(300, 7, generator=generator)
    logits[torch.arange(300), classes] += 1
    return logits.round(decimals=1), classes  # rounded, so that some values tie


def test_scores_by_hand():
    scores = numbers_only(detailed_scores(LOGITS, CLASSES))
    assert scores.keys() == set(SCORES) - {"top_5_accuracy"}
    assert scores["macro_precision"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert scores["macro_recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["micro_f1"] == pytest.approx(0.5)
    squares = [0.09 + 0.04 + 0.01, 0.01 + 0.16 + 0.09, 0.04 + 0.25 + 0.49, 0.81 * 2]
    assert scores["brier"] == pytest.approx(sum(squares) / 4, abs=1e-5)
    expected = -(math.log(0.7) + math.log(0.6) + math.log(0.3) + math.log(0.1)) / 4
    assert scores["nll"] == pytest.approx(expected, abs=1e-5)
    # Every confidence has a bin of its own: 0.7 and 0.6 are right, 0.5 and 0.9 wrong.
    assert scores["ece"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.9) / 4, abs=1e-5)


def test_areas_by_hand():
    areas = class_auroc(PROBABILITIES, CLASSES).tolist()
    # Class 0: 0.7 beats 0.1 and 0.2, not 0.9. Class 1: 0.6 beats 0.2 and 0.5, 0.1 none.
    # Class 2: 0.3 beats 0.1 and 0.0 and ties with 0.3.
    assert areas == pytest.approx([2 / 3, 2 / 4, 2.5 / 3])
    assert class_auroc(PROBABILITIES, torch.tensor([0, 0, 1, 1]))[2].isnan()
    assert class_auroc(PROBABILITIES, torch.zeros(4, dtype=torch.int64)).isnan().all()


def test_scores_are_those_of_other_libraries(random_outputs):
    logits, classes = random_outputs
    probabilities = logits.softmax(1)
    predicted = probabilities.argmax(1)
    scores = detailed_scores(logits, classes)
    areas = multiclass_auroc(probabilities, classes, 7, average=None)
    assert scores["per_class"]["auroc"] == pytest.approx(areas.tolist(), abs=1e-6)
    assert scores["auroc"] == pytest.approx(areas.mean().item(), abs=1e-6)
    matrix = sklearn_metrics.confusion_matrix(classes, predicted)
    assert scores["confusion_matrix"] == matrix.tolist()
    each = sklearn_metrics.precision_recall_fscore_support(classes, predicted)
    names = ("precision", "recall", "f1", "samples")
    for name, values in zip(names, each, strict=True):
        assert scores["per_class"][name] == pytest.approx(values.tolist())
    for average in ("macro", "micro"):
        f1 = sklearn_metrics.f1_score(classes, predicted, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(f1)
    assert scores["nll"] == pytest.approx(
        sklearn_metrics.log_loss(classes, logits.double().softmax(1))
    )
    top = sklearn_metrics.top_k_accuracy_score(classes, probabilities, k=5)
    assert scores["top_5_accuracy"] == pytest.approx(top)


def test_a_class_without_samples_has_no_area_and_counts_if_it_is_predicted():
    logits = torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    scores = detailed_scores(logits, torch.tensor([0, 1, 0]))
    assert scores["per_class"]["samples"] == [2, 1, 0]
    assert math.isnan(scores["per_class"]["auroc"][2])
    assert scores["macro_recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert scores["auroc"] == pytest.approx(np.mean(scores["per_class"]["auroc"][:2]))


def test_names_tell_which_direction_is_better():
    assert score_names(6) == SCORES
    assert "top_5_accuracy" not in score_names(5)
    lower = [name for name in SCORES if not higher_is_better(f"val/{name}")]
    assert lower == ["brier", "nll", "ece"]
    assert all(map(direction_is_known, SCORES))


def test_outputs_are_collected_block_by_block(random_outputs):
    logits, classes = random_outputs
    outputs = Outputs()
    for block, targets in zip(logits.split(64), classes.split(64), strict=True):
        outputs.add(block.bfloat16(), targets)
    joined, targets = outputs.joined()
    assert joined.dtype == torch.float32
    torch.testing.assert_close(joined, logits, atol=0.02, rtol=0.01)
    assert torch.equal(targets, classes)
    outputs.gather(torch.device("cpu"))  # of one process
    assert torch.equal(outputs.joined()[0], joined)
    assert numbers_only({"a": 1.5, "b": [1.0], "c": None}) == {"a": 1.5}
