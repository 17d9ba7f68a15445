"""What the columns of a table of runs mean."""

import pytest

from compare.helpers import write_run
from normlab.compare import load_runs
from normlab.compare.columns import check_key, metric_columns, setting_columns


def test_an_unknown_key_is_answered_with_similar_names():
    known = ["optimizer.lr", "optimizer.momentum", "norm"]
    with pytest.raises(
        ValueError, match=r"no setting 'lr'; did you mean optimizer.lr\?"
    ):
        check_key("lr", known, "setting")
    with pytest.raises(ValueError, match="did you mean optimizer.momentum"):
        check_key("optimizer.momemtum", known, "setting")
    with pytest.raises(
        ValueError, match="known are optimizer.lr, optimizer.momentum, norm"
    ):
        check_key("zzz", known, "setting")
    with pytest.raises(ValueError, match="known are 10, 11, .*, 28, 29 and 2 more$"):
        check_key("zzz", map(str, range(10, 32)), "setting")


def test_names_that_contain_a_comma_are_quoted():
    known = ["none, optimizer.lr=1", "custom"]
    with pytest.raises(
        ValueError, match=r"no arm 'none'; did you mean 'none, optimizer.lr=1'\?"
    ):
        check_key("none", known, "arm")
    with pytest.raises(ValueError, match="known are 'none, optimizer.lr=1', custom$"):
        check_key("zzz", known, "arm")


def test_settings_begin_with_the_picked_names(tmp_path):
    write_run(tmp_path, "custom", metrics={"test/loss": 0.1})
    runs = load_runs(tmp_path)
    settings = setting_columns(runs)
    assert settings[:6] == [
        "dataset",
        "model",
        "norm",
        "optimizer",
        "scheduler",
        "device",
    ]
    assert {"seed", "optimizer.lr", "norm.eps", "device.channels_last"} <= set(settings)
    assert not {"run", "status", "seconds", "test/loss", "group"} & set(settings)
    assert not any(name.startswith(("environment", "study")) for name in settings)


def test_metrics_include_the_counts_of_every_run(tmp_path):
    write_run(tmp_path, "custom", metrics={"test/loss": 0.1})
    metrics = metric_columns(load_runs(tmp_path))
    assert {"test/accuracy", "test/loss", "seconds", "steps"} <= set(metrics)
    assert "optimizer.lr" not in metrics


def test_a_slash_alone_does_not_make_a_metric(tmp_path):
    settings = {"choices.model/encoder": "small", "model.sizes.a/b": 3}
    write_run(tmp_path, "custom", settings=settings)
    runs = load_runs(tmp_path)
    assert {"model/encoder", "model.sizes.a/b"} <= set(setting_columns(runs))
    assert not {"model/encoder", "model.sizes.a/b"} & set(metric_columns(runs))
