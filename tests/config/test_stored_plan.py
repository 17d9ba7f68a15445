"""The whole plan of a study lies in every run that it starts."""

import json

import pytest
import yaml
from omegaconf import OmegaConf

from normlab.config.claim_rules import RULES
from normlab.config.composition import compose_config, plain_config
from normlab.config.identity import configuration_directory, digest
from normlab.config.stored_plan import (
    plan_text,
    started_plan,
    study_files,
    whole_plan,
    with_plan,
)
from normlab.study.definition import read_study


def planned(*words, folder=None):
    composed = compose_config(words, folder)
    return with_plan(plain_config(composed), composed.hydra)


def test_a_run_of_a_study_stores_grid_settings_and_rules():
    config = planned("study=custom_equals_torch", "norm=torch", "seed=3")
    plan = json.loads(config["plan"])
    assert plan["file"]["hydra"]["sweeper"]["params"] == {
        "dataset": "digits,mnist",
        "norm": "torch,custom",
        "seed": "range(20)",
    }
    assert plan["file"]["trainer"] == {"max_epochs": 5}
    assert plan["file"]["study"]["claims"][0]["margin"] == 0.005
    assert plan["rules"] == {"equal": RULES["equal"]}
    assert len(plan["digest"]) == 16
    now = read_study("custom_equals_torch").whole_plan
    assert plan_text(now) == config["plan"]


def test_a_command_that_changes_the_plan_stores_the_changed_one():
    word = "hydra.sweeper.params.seed='range(3)'"
    config = planned("study=small_batches", word, "study.minimum_seeds=3")
    plan = json.loads(config["plan"])["file"]
    assert plan["hydra"]["sweeper"]["params"]["seed"] == "range(3)"
    assert plan["study"]["minimum_seeds"] == 3


@pytest.mark.parametrize("words", [(), ("study.try=true",)])
def test_a_grid_of_what_runs_do_not_store_is_refused_before_they_train(words):
    grid = "+hydra.sweeper.params.callbacks='[],[gradient_norm]'"
    with pytest.raises(ValueError, match="study=small_batches: the grid must not vary"):
        planned("study=small_batches", grid, *words)


def test_a_call_stores_the_plan_of_a_study_in_its_folder(tmp_path):
    (tmp_path / "study").mkdir()
    text = (configuration_directory() / "study" / "small_batches.yaml").read_text()
    (tmp_path / "study" / "mine.yaml").write_text(text)
    plan = json.loads(planned("study=mine", folder=tmp_path)["plan"])
    shipped = json.loads(planned("study=small_batches")["plan"])
    assert plan["file"] == shipped["file"]
    assert plan["file"]["trainer"]


@pytest.mark.parametrize(
    "words", [("norm=torch",), ("study=small_batches", "++study.try=true")]
)
def test_runs_outside_of_a_study_and_trials_store_no_plan(words):
    assert planned(*words)["plan"] is None


def test_neither_the_plan_nor_the_control_makes_another_run():
    config = planned("study=custom_equals_torch")
    without = config | {"plan": None}
    assert digest(config) == digest(without)
    study = dict(config["study"])
    assert study.pop("control") is True
    assert digest(config | {"study": study}) == digest(config)
    assert digest(config | {"study": study | {"level": 0.1}}) != digest(config)


def test_a_resumed_run_keeps_the_plan_that_started_it(tmp_path):
    assert started_plan(tmp_path) is None
    for plan in ("first", None, 3):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"plan": plan}))
        assert started_plan(tmp_path) == (plan if plan == "first" else None)
    (tmp_path / "config.yaml").write_text("[")
    assert started_plan(tmp_path) is None


def test_a_study_of_ones_own_is_found_behind_conf(tmp_path):
    (tmp_path / "study").mkdir()
    for name in ("mine", "small_batches"):
        (tmp_path / "study" / f"{name}.yaml").write_text("group: own")
    files = study_files([tmp_path])
    assert files["mine"].parent == tmp_path / "study"
    assert files["small_batches"].parent != tmp_path / "study"


def test_grids_that_leave_runs_out_are_part_of_the_plan():
    study = {"claims": [{"expect": "higher"}]}
    sweeper = {"params": {"seed": "0,1"}, "exclude": [{"seed": 1}], "zip": []}
    plan = whole_plan({"group": "x", "seed": 3}, study, sweeper)
    assert plan["file"] == {
        "seed": 3,
        "study": study,
        "hydra": {"sweeper": {"params": {"seed": "0,1"}, "exclude": [{"seed": 1}]}},
    }
    assert OmegaConf.create(plan)["rules"]["higher"] == RULES["higher"]
