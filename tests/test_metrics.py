import pytest

from normlab import metrics
from normlab.metrics import (
    METRICS,
    declare_metrics,
    direction_is_known,
    higher_is_better,
    is_metric,
    parse_target,
    reaches,
)


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("test/accuracy", True),
        ("val/r2", True),
        ("samples_per_second", True),
        ("largest stable learning rate", True),
        ("test/loss", False),
        ("val/rmse", False),
        ("train/mae", False),
        ("seconds", False),
        ("quality", False),
    ],
)
def test_direction_follows_from_the_end_of_the_name(metric, higher):
    assert higher_is_better(metric) is higher


def test_a_target_is_a_metric_and_a_finite_number():
    assert parse_target("val/accuracy=0.97") == ("val/accuracy", 0.97)
    assert parse_target("val/loss = -1e-3") == ("val/loss", -0.001)
    for text in ("val/accuracy", "val/accuracy=high", "val/loss=nan", "val/loss=inf"):
        with pytest.raises(ValueError, match="^size must be METRIC=VALUE, .* got '"):
            parse_target(text, "size")


def test_a_target_is_reached_from_the_worse_side():
    assert reaches("val/accuracy", 0.9, 0.9)
    assert not reaches("val/accuracy", 0.89, 0.9)
    assert reaches("val/loss", 0.1, 0.1)
    assert not reaches("val/loss", 0.11, 0.1)
    assert not reaches("val/loss", float("nan"), 0.1)


def test_a_name_that_does_not_tell_its_direction():
    assert not direction_is_known("test/quality")
    assert direction_is_known("test/error")


def test_the_direction_of_every_metric_of_a_task_is_known():
    names = [name for names in METRICS.values() for name in names]
    assert all(direction_is_known(name) for name in names)


def test_the_first_metric_of_a_task_picks_the_best_epoch():
    assert METRICS["classification"][0] == "accuracy"
    assert METRICS["regression"][0] == "loss"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/loss", True),
        ("val/accuracy", True),
        ("test/quality", True),
        ("test", False),
        ("model/encoder", False),
        ("model.sizes.test/b", False),
        ("seconds", False),
    ],
)
def test_metrics_are_of_a_part_of_the_data(name, expected, monkeypatch):
    # Results of other programs declare names of their own, in tests before this one.
    monkeypatch.setattr("normlab.metrics._declared", {})
    assert is_metric(name) is expected


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("test_acc", True),
        ("Top1", True),
        ("eval/BLEU", True),
        ("Accuracy (%)", True),
        ("val WER", False),
        ("Runtime", False),
    ],
)
def test_names_of_other_programs_tell_their_direction(name, higher):
    assert direction_is_known(name)
    assert higher_is_better(name) is higher


@pytest.mark.parametrize("name", ["power", "heatmap", "score", "extra", ""])
def test_short_names_must_be_whole_words(name):
    assert not direction_is_known(name)


def test_a_declared_metric_has_the_direction_that_was_said(monkeypatch):
    monkeypatch.setattr(metrics, "_declared", {})
    assert not is_metric("score")
    declare_metrics({"score": True, "loss": True, "energy": None})
    assert is_metric("score")
    assert is_metric("energy")
    assert higher_is_better("score")
    assert higher_is_better("loss")
    assert not direction_is_known("energy")
