"""Metrics of claims that are computed for every run."""

import math
from dataclasses import replace

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.metrics import higher_is_better, is_metric
from normlab.study import metric_values
from normlab.study.claim_metrics import with_claim_metric
from normlab.study.comparing import compare_claim
from normlab.study.definition import Study
from normlab.study.metric_names import declare, metric_name
from normlab.study.verdict import answer
from study.helpers import NOISE, plan

LAYERS = """epoch,step,layer,statistic,value
1,10,a,mean_drift,1
1,10,b,mean_drift,3
2,20,a,mean_drift,2
2,20,b,mean_drift,6
3,30,a,mean_drift,0
3,30,b,mean_drift,4
3,30,b,var_drift,99
"""


def claim(metric, **others):
    return plan(expect="higher") | {"metric": metric, "by": "norm"} | others


def values(metric, runs, **others):
    """The metric of every run, by norm and seed."""
    options, table, reason = with_claim_metric(claim(metric, **others), runs)
    assert options["metric"] == metric_name(metric)
    found = zip(table["norm"], table["seed"], table[options["metric"]], strict=True)
    return {(norm, seed): value for norm, seed, value in found}, reason


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.0),  # the mean of 0 and 4
        ({"layer": "a"}, 0.0),
        ({"layer": "a", "over": "mean"}, 1.0),
        ({"layer": "b", "over": "mean", "epochs": [2, 3]}, 5.0),
        ({"layer": "a", "over": "max"}, 2.0),
        ({"layer": "b", "over": "min"}, 3.0),
        ({"layer": "a", "over": "change"}, 1.5),  # 1 and 2
        ({"layer": "a", "over": "sd"}, 1.0),
        (
            {"layer": "b", "over": "mean", "epochs": [2, 2], "ratio": True},
            math.log10(6),
        ),
    ],
)
def test_a_statistic_is_summarized_over_epochs(tmp_path, options, expected):
    folder = write_run(tmp_path, "torch")
    (folder / "statistics.csv").write_text(LAYERS)
    metric = {"statistic": "mean_drift", **options}
    found, reason = values(metric, load_runs(tmp_path))
    assert found == {("torch", 0): pytest.approx(expected)}
    assert reason == ""


def test_a_curve_is_summarized_over_epochs(tmp_path):
    curve = [0.5, 0.7, 0.6]
    write_run(tmp_path, "torch", curve=curve)
    runs = load_runs(tmp_path)
    found, _ = values({"curve": "val/accuracy", "over": "sd"}, runs)
    assert found["torch", 0] == pytest.approx(0.1)
    found, _ = values({"curve": "val/loss", "over": "change"}, runs)
    assert found["torch", 0] == pytest.approx(0.15)
    found, _ = values({"curve": "val/loss", "epochs": [1, 2]}, runs)
    assert found["torch", 0] == pytest.approx(1.1 - 0.7)


def test_a_curve_is_divided_by_another_one_of_the_same_run(tmp_path):
    folder = write_run(tmp_path, "torch")
    lines = ["epoch,step,seconds,val/loss,val_recalibrated/loss"]
    for epoch, losses in enumerate(["1,5", "5,6", "9,7", "80,7"], start=1):
        lines.append(f"{epoch},{epoch},{epoch},{losses}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    runs = load_runs(tmp_path)
    metric = {"curve": "val/loss", "over": "sd", "epochs": [1, 3]}
    metric["divided_by"] = "val_recalibrated/loss"
    found, _ = values(metric, runs)
    assert found["torch", 0] == pytest.approx(4.0)  # of 4 and 1
    found, _ = values(metric | {"ratio": True}, runs)
    assert found["torch", 0] == pytest.approx(math.log10(4))
    constant = metric | {"divided_by": "val_recalibrated/loss", "epochs": [3, 4]}
    with pytest.raises(ValueError, match="no finished run has val/epochs 3 to 4 SD"):
        values(constant, runs)


def test_runs_without_a_value_leave_the_claim_open(tmp_path):
    write_run(tmp_path, "torch", 0, curve=[0.5, 0.7])
    write_run(tmp_path, "torch", 1)
    metric = {"curve": "val/loss"}
    found, reason = values(metric, load_runs(tmp_path))
    assert math.isnan(found["torch", 1])
    assert reason == "1 of 2 runs have no val/last loss"
    with pytest.raises(
        ValueError, match="no finished run has train/last mean_drift of"
    ):
        values({"statistic": "mean_drift"}, load_runs(tmp_path))


@pytest.fixture
def scored(monkeypatch):
    """Evaluations by their settings; the names of the folders that were scored."""
    calls = []

    def score(folder, settings, trusted):
        calls.append((folder.name.partition("-")[0], settings["shift"]))
        assert settings["parts"] == ["test"]  # the others are not scored
        gain = 0.25 if settings["statistics"] == "adapted" else 0.0
        if settings["batch_size"] == 2:
            raise ValueError("no best.ckpt")
        return {"test/accuracy": 0.5 + gain, "test/ece": 0.1}

    monkeypatch.setattr(metric_values, "evaluation_scores", score)
    return calls


def test_an_evaluation_is_of_the_arms_of_the_claim(tmp_path, scored):
    for norm in ("torch", "custom", "ghost"):
        write_run(tmp_path, norm)
    write_run(tmp_path, "custom", 1, status="diverged")
    metric = {"evaluation": "test/accuracy", "shift": "blur:3", "statistics": "adapted"}
    found, reason = values(metric, load_runs(tmp_path), arms=["custom"])
    assert found["torch", 0] == found["custom", 0] == 0.75
    assert math.isnan(found["custom", 1])
    assert set(found) == {("torch", 0), ("custom", 0), ("custom", 1)}
    assert scored == [("custom", "blur:3"), ("torch", "blur:3")]
    assert reason == ""
    about_value = {"arms": ["custom"], "value": 0.0}
    found, _ = values(metric, load_runs(tmp_path), **about_value)
    assert set(found) == {("custom", 0), ("custom", 1)}  # the baseline has no part


def test_the_difference_of_two_evaluations(tmp_path, scored):
    write_run(tmp_path, "torch", value=0.875)
    runs = load_runs(tmp_path)
    metric = {"evaluation": "test/accuracy", "statistics": "adapted", "shift": "blur:1"}
    found, _ = values(metric | {"minus": {"shift": "blur:1"}}, runs)
    assert found == {("torch", 0): 0.25}
    found, _ = values(metric | {"minus": {}}, runs)  # the stored score
    assert found == {("torch", 0): 0.75 - 0.875}
    assert len(scored) == 3


def test_runs_that_cannot_be_scored_are_named(tmp_path, scored):
    write_run(tmp_path, "torch")
    with pytest.raises(
        ValueError, match=r"no finished run has test/batch_size=2 acc.*b"
    ):
        values({"evaluation": "test/accuracy", "batch_size": 2}, load_runs(tmp_path))
    with pytest.raises(
        ValueError, match="its evaluation has no test/loss; it has test"
    ):
        values({"evaluation": "test/loss", "shift": "blur:1"}, load_runs(tmp_path))


def test_a_probe_is_computed_for_every_run(tmp_path, monkeypatch):
    calls = []

    def probed(folder, probe, num_batches, trusted):
        calls.append((probe, num_batches))
        return 1.5 + 0.1 * int(folder.name.partition("seed")[2][0])

    monkeypatch.setattr(metric_values, "probed_value", probed)
    for seed in range(2):
        write_run(tmp_path, "custom", seed)
    runs = load_runs(tmp_path)
    found, _ = values({"probe": "gradient_growth"}, runs)
    assert found == {("custom", 0): 1.5, ("custom", 1): 1.6}
    values({"probe": "gradient_growth", "num_batches": 3}, runs)
    assert calls == [("gradient_growth", 10)] * 2 + [("gradient_growth", 3)] * 2


def test_values_are_chosen_on_validation_before_they_are_scored(tmp_path, scored):
    for lr, value in ((0.1, 0.8), (1.0, 0.9)):
        write_run(tmp_path, "torch", 0, value, settings={"optimizer.lr": lr})
        write_run(tmp_path, "custom", 0, 1 - value, settings={"optimizer.lr": lr})
    metric = {"evaluation": "test/accuracy", "shift": "blur:1"}
    asked = claim(metric, select="optimizer.lr")
    options, table, _ = with_claim_metric(asked, load_runs(tmp_path))
    assert "select" not in options
    kept = sorted(zip(table["norm"], table["optimizer.lr"], strict=True))
    assert kept == [("custom", 0.1), ("torch", 1.0)]
    assert len(scored) == 2


@pytest.mark.parametrize(
    ("metric", "name", "higher"),
    [
        ({"curve": "val/accuracy", "over": "sd"}, "val/SD over epochs of accuracy", 0),
        ({"curve": "val/accuracy", "over": "max"}, "val/largest accuracy", 1),
        (
            {"curve": "val/loss", "over": "mean", "epochs": [1, 5], "ratio": True},
            "log10 epochs 1 to 5 mean val/loss",
            0,
        ),
        (
            {
                "curve": "val/loss",
                "over": "sd",
                "ratio": True,
                "divided_by": "val_recalibrated/loss",
            },
            "log10 SD over epochs of val/loss divided by that of val_recalibrated/loss",
            0,
        ),
        (
            {"curve": "val/accuracy", "divided_by": "train/loss"},
            "val/last accuracy divided by that of train/loss",
            1,
        ),
        (
            {"statistic": "activation_q50", "layer": "f1", "over": "change"},
            "train/mean change per epoch of activation_q50 of f1",
            0,
        ),
        ({"probe": "gradient_growth"}, "train/untrained gradient_growth", 0),
        ({"statistic": "var_drift"}, "train/last var_drift of all norms", 0),
        (
            {
                "evaluation": "test/accuracy",
                "shift": "blur:1",
                "statistics": "mixed",
                "pseudo_count": 8,
                "minus": {},
            },
            "test/blur:1 mixed pseudo_count=8 minus clean accuracy",
            1,
        ),
    ],
)
def test_names_say_how_a_metric_is_computed(metric, name, higher):
    assert metric_name(metric) == name
    declare(metric)
    assert higher_is_better(name) == bool(higher)
    assert is_metric(name)


def test_a_study_answers_a_claim_about_a_curve(tmp_path):
    """Losses jump twice, then three times as far in torch as in custom."""
    for factor, verdict in ((2, "cannot tell"), (3, "supported")):
        for seed in range(10):
            size = 0.1 + 10 * NOISE[seed]
            jumps = {"torch": factor * size, "custom": 0.1 + 10 * NOISE[-seed - 1]}
            for norm, jump in jumps.items():
                curve = [0.5, 0.5 + jump, 0.5]
                write_run(tmp_path / str(factor), norm, seed, curve=curve)
        metric = {"curve": "val/loss", "over": "sd", "ratio": True}
        block = plan(expect="lower", margin=2) | {"metric": metric}
        params = {"norm": "torch,custom", "seed": "range(10)"}
        study = Study("demo", block, "demo", params)
        _, claims, _ = answer(study, load_runs(tmp_path / str(factor)))
        assert claims[0].verdict == verdict
        row = claims[0].comparison.contrasts.iloc[0]
        assert row["margin"] == pytest.approx(math.log10(2))
        assert row["difference"] == pytest.approx(-math.log10(factor), abs=0.02)
        assert f"a factor of {10 ** abs(row['difference']):.3g}" in row["sentence"]


def test_runs_that_call_own_code_are_scored_if_it_is_trusted(tmp_path, monkeypatch):
    def score(folder, settings, trusted):
        if "mine" not in trusted:
            raise ValueError("trusted must name mine")
        return {"test/accuracy": 0.5 + 0.1 * folder.name.startswith("custom")}

    monkeypatch.setattr(metric_values, "evaluation_scores", score)
    for norm in ("torch", "custom", "ghost"):
        for seed in range(10):
            write_run(tmp_path, norm, seed)
    metric = {"evaluation": "test/accuracy", "shift": "blur:1"}
    block = plan(expect="higher") | {"metric": metric}
    params = {"norm": "torch,custom,ghost", "seed": "range(10)"}
    study = Study("demo", block, "demo", params)
    with pytest.raises(ValueError, match=r"the first is .*\(--trust must name mine\)"):
        answer(study, load_runs(tmp_path))
    trusting = replace(study, trusted=("mine",))
    verdict, _, _ = answer(trusting, load_runs(tmp_path))
    assert verdict == "supported"


def test_a_claim_shows_its_own_arms_alone(tmp_path):
    for norm in ("torch", "custom", "ghost"):
        for seed in range(2):
            write_run(tmp_path, norm, seed, 0.9 + 0.01 * seed)
    asked = plan(expect="higher") | {"arms": ["custom"]}
    comparison, _ = compare_claim(asked, load_runs(tmp_path))
    assert comparison.arms == ["torch", "custom"]
    assert comparison.summaries["arm"].tolist() == ["torch", "custom"]


def test_an_interaction_of_an_evaluation(tmp_path, scored):
    for lr in (0.1, 1.0):
        for seed in range(2):
            for norm in ("torch", "custom"):
                write_run(tmp_path, norm, seed, settings={"optimizer.lr": lr})
    metric = {"evaluation": "test/accuracy", "shift": "blur:1"}
    asked = claim(metric, arms=["custom"], interaction={"optimizer.lr": [0.1, 1]})
    comparison, reason = compare_claim(asked, load_runs(tmp_path))
    assert comparison.metric == "test/change of blur:1 accuracy"
    assert comparison.contrasts["difference"].tolist() == [0.0]
    assert reason == ""
    assert np.isnan(comparison.contrasts["margin"]).all()
