"""The settings of runs against those that their study planned."""

import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.study.deviations import deviations, planned_settings
from study.helpers import planned_tables


def test_settings_of_a_shipped_study_by_the_groups_of_its_grid():
    params = {"dataset": "digits,mnist", "norm": "torch,custom", "seed": "range(20)"}
    tables = planned_settings("custom_equals_torch", params)
    assert [(table["dataset"], table["norm"]) for table in tables] == [
        ("digits", "custom"),
        ("digits", "torch"),
        ("mnist", "custom"),
        ("mnist", "torch"),
    ]
    assert all(table["trainer.max_epochs"] == 5 for table in tables)
    assert not any(
        key in tables[0]
        for key in ("seed", "dataset.root", "study.question", "device.threads")
    )


STUDY = """
# @package _global_
defaults:
  - override /scheduler: one_cycle
  - override /model: mlp
  - override /optimizer: sgd
trainer:
  max_epochs: 7
optimizer:
  lr: 0.25
model:
  sizes: [1, "${trainer.max_epochs}"]
  first: {width: 8}
  second: ${model.first}
  path: ${paths.outputs}/a
  own: ${oc.env:HOME}
  third: ${.own}
"""


@pytest.fixture
def planned(tmp_path):
    """planned(**params): the settings that a study plans, for one norm."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "rates.yaml").write_text(STUDY.lstrip())

    def compose(**params):
        grid = {"norm": "none", "seed": "0,1"} | params
        (table,) = planned_settings("rates", grid, tmp_path)
        return table

    return compose


def test_settings_that_refer_to_others_have_the_planned_values(planned):
    table = planned()
    assert table["scheduler.epochs"] == 7
    assert table["scheduler.max_lr"] == 0.25
    assert table["model.sizes"] == "[1, 7]"
    assert table["model.second.width"] == 8


def test_settings_that_refer_to_the_grid_or_a_machine_are_open(planned):
    table = planned(**{"optimizer.lr": "0.1,1", "model.first.width": "8,16"})
    assert table["scheduler.epochs"] == 7
    assert table["scheduler.max_lr"] == "${optimizer.lr}"
    assert table["model.second"] == "${model.first}"
    assert table["model.path"] == "${paths.outputs}/a"
    assert table["model.own"] == "${oc.env:HOME}"
    assert table["model.third"] == "${.own}"


def test_deviations_from_the_plan_are_named(tmp_path):
    for norm in ("none", "custom"):
        for lr in (0.1, 1.0):
            write_run(tmp_path, norm, settings={"optimizer.lr": lr})
    runs = load_runs(tmp_path)
    params = {"norm": "none,custom", "optimizer.lr": "0.1,1", "seed": "0"}
    assert deviations(planned_tables(params), params, runs) == ""
    planned = planned_tables(params, **{"dataset.batch_size": 32})
    assert (
        deviations(planned, params, runs)
        == "dataset.batch_size is 64 instead of 32 in 4 of 4"
    )


def test_settings_that_the_plan_lacks_are_deviations(tmp_path):
    added = {
        "callbacks": {"gradient_norm": {"norm_type": 2.0}},
        "reparametrize": {"_target_": "normlab.norms.normalize_weights"},
        "task.loss": {"_target_": "torch.nn.MultiMarginLoss"},
    }
    write_run(tmp_path, "none", 0, settings=added)
    write_run(tmp_path, "none", 1)
    params = {"norm": "none", "seed": "0,1"}
    runs = load_runs(tmp_path)
    assert deviations(planned_tables(params), params, runs) == (
        "callbacks.gradient_norm.norm_type is 2 instead of – in 1 of 2, "
        "reparametrize._target_ is normlab.norms.normalize_weights instead of – in 1 "
        "of 2, task.loss._target_ is torch.nn.MultiMarginLoss instead of – in 1 of 2"
    )
    other = {"dataset.batch_size": 32, "model.bias": False}
    assert deviations(planned_tables(params, **other), params, runs).endswith(
        ", reparametrize._target_ is normlab.norms.normalize_weights instead of – in 1 "
        "of 2, and 1 more"
    )


def test_settings_that_the_runs_lack_are_deviations(tmp_path):
    write_run(tmp_path, "none", 0)
    added = {
        "reparametrize._target_": "normlab.norms.normalize_weights",
        "task.loss._target_": "torch.nn.MultiMarginLoss",
    }
    params = {"norm": "none", "seed": "0"}
    assert deviations(planned_tables(params, **added), params, load_runs(tmp_path)) == (
        "reparametrize._target_ is – instead of normlab.norms.normalize_weights in 1 "
        "of 1, task.loss._target_ is – instead of torch.nn.MultiMarginLoss in 1 of 1"
    )


def test_a_mapping_without_keys_is_no_setting(tmp_path):
    write_run(tmp_path, "none", 0)
    write_run(tmp_path, "none", 1, settings={"model.options": {}})
    params = {"norm": "none", "seed": "0,1"}
    planned = planned_tables(params, callbacks="{}")
    assert deviations(planned, params, load_runs(tmp_path)) == ""


def test_the_plan_leaves_values_open_that_refer_to_others_or_to_a_machine(tmp_path):
    settings = {
        "scheduler.T_max": 5,
        "model.parts": {"first": 1},
        "dataset.load": {"cache": "outputs/.cache"},
    }
    write_run(tmp_path, "none", 0, settings=settings)
    open_values = {"scheduler.T_max": "${trainer.max_epochs}", "model.parts": "${x}"}
    params = {"norm": "none", "seed": "0"}
    planned = planned_tables(params, **open_values)
    assert deviations(planned, params, load_runs(tmp_path)) == ""


def test_no_option_of_a_group_is_an_option_that_runs_may_have(tmp_path):
    write_run(tmp_path, "none", 0)
    runs = load_runs(tmp_path)
    params = {"norm": "none", "callbacks": "null", "seed": "0"}
    changes = {"dataset.batch_size": 32}
    planned = [planned_tables(params, **changes)[0] | {"callbacks": "null"}]
    told = "dataset.batch_size is 64 instead of 32 in 1 of 1"
    assert deviations(planned, params, runs) == told
    params["experiment"] = params.pop("callbacks")
    planned = [planned_tables(params, **changes)[0] | {"experiment": "null"}]
    assert deviations(planned, params, runs) == told
