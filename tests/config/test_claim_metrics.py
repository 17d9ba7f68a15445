"""Metrics that a claim states as a mapping."""

import inspect

import pytest

from normlab.config.claim_metrics import (
    EVALUATION,
    PROBES,
    SHIFTS,
    STATISTICS,
    check_metric,
    kind_of,
)
from normlab.data.corruptions import CORRUPTIONS, SHORT_NAMES
from normlab.evaluation import probes
from normlab.evaluation.evaluate import evaluate_run


@pytest.mark.parametrize(
    ("metric", "kind"),
    [
        ({"evaluation": "test/accuracy"}, "evaluation"),
        ({"shift": "blur:5", "evaluation": "val/ece", "minus": {}}, "evaluation"),
        ({"curve": "val/loss", "over": "sd", "epochs": [1, 3]}, "curve"),
        ({"curve": "val/loss", "divided_by": "val_recalibrated/loss"}, "curve"),
        ({"statistic": "mean_drift", "layer": "hidden.0.norm"}, "statistic"),
        ({"probe": "gradient_growth", "num_batches": 1}, "probe"),
    ],
)
def test_a_metric_is_of_one_kind(metric, kind):
    check_metric("demo", metric)
    check_metric("demo", "test/accuracy")
    assert kind_of(metric) == kind


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (3, "metric must be a name such as test/accuracy, or a mapping with one of"),
        ({"over": "sd"}, "or a mapping with one of evaluation, curve, stat"),
        ({"curve": "val/loss", "statistic": "var_drift"}, "or a mapping with one of"),
        ({"curve": 3}, "curve must be a name, got 3"),
        ({"curve": "loss"}, r"curve must name a part \(train, val, test, val_recal"),
        ({"evaluation": "val_recalibrated/loss"}, r"a part \(train, val, test\) and"),
        ({"curve": "val/loss", "divided_by": {}}, "divided_by must name a part"),
        ({"curve": "val/loss", "divided_by": "val"}, "divided_by must name a part"),
        ({"statistic": "x", "divided_by": "val/loss"}, "unknown key 'divided_by'"),
        ({"curve": "val/loss", "ovr": "sd"}, "unknown key 'ovr', did you mean 'over'"),
        ({"curve": "val/loss", "over": "median"}, "over must be one of last, mean, sd"),
        ({"curve": "val/loss", "epochs": [0, 3]}, "epochs must be the first and the l"),
        ({"curve": "val/loss", "epochs": 3}, "epochs must be the first and the last"),
        ({"curve": "val/loss", "ratio": 2}, "ratio must be true or false, got 2"),
        ({"probe": "growth"}, "probe must be one of gradient_growth, got growth"),
        (
            {"probe": "gradient_growth", "over": "sd"},
            "metric has an unknown key 'over'",
        ),
        ({"statistic": "var_drift", "layer": 3}, "layer must be text, got 3"),
        (
            {"evaluation": "test/loss", "shift": "contrastt:3"},
            "shift must be one of brightness, contrast",
        ),
        ({"evaluation": "test/loss", "shift": "blur:6"}, "with a severity from 1 to 5"),
        (
            {"evaluation": "test/loss", "statistics": "mean"},
            "statistics must be one of running, batch, recalibrated, frozen, adapted",
        ),
        (
            {"evaluation": "test/loss", "minus": "running"},
            "minus must hold the options of another evaluation",
        ),
        (
            {"evaluation": "test/loss", "minus": {"over": "sd"}},
            "metric has an unknown key 'over'; known are shift, statistics",
        ),
    ],
)
def test_a_metric_without_a_value_is_refused(metric, message):
    with pytest.raises(ValueError, match=message):
        check_metric("demo", metric)


def test_evaluations_take_the_arguments_and_defaults_of_the_function():
    arguments = inspect.signature(evaluate_run).parameters
    for name, default in EVALUATION.items():
        assert arguments[name].default == default
    assert set(SHIFTS) == {*CORRUPTIONS, *SHORT_NAMES}
    assert "adapted" in STATISTICS
    assert set(PROBES) == {*probes.PROBES}
