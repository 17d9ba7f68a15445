"""The studies that come with the project ask about runs that they plan."""

from pathlib import Path

import pandas as pd
import pytest

from normlab.compare.arguments import name_list
from normlab.compare.runs import flat_settings, settings_added_later
from normlab.compare.settings import arm_labels, setting_text
from normlab.config.composition import compose_config, plain_config
from normlab.config.identity import configuration_directory
from normlab.config.rules import check
from normlab.config.study_plan import check_plan
from normlab.study.definition import read_study
from normlab.study.deviations import deviations, planned_settings
from normlab.study.plans import grid, planned_runs, planned_seeds

FILES = sorted((configuration_directory() / "study").glob("*.yaml"))
STUDIES = [file.stem for file in FILES]


@pytest.fixture(params=STUDIES)
def study(request):
    return read_study(request.param)


def claims(study):
    for claim in study.plan["claims"]:
        yield study.plan | claim


def test_there_are_studies_and_each_has_its_own_folder():
    assert "custom_equals_torch" in STUDIES
    groups = [read_study(name).group for name in STUDIES]
    assert groups == STUDIES


def test_a_study_composes_with_the_first_run_of_its_grid(study):
    first = next(planned_runs(study.params))
    overrides = [f"{key}={value}" for key, value in first.items()]
    config = compose_config([f"study={study.name}", *overrides])
    settings = plain_config(config)
    check(settings)
    assert settings["group"] == study.group
    assert settings["study"]["question"] == study.plan["question"]


def deviations_of_first_run(study, *words):
    """How the first run of the grid deviates from the plan, made with more words."""
    first = next(planned_runs(study.params))
    overrides = [f"{key}={value}" for key, value in first.items()]
    settings = plain_config(compose_config([f"study={study.name}", *overrides, *words]))
    choices = settings.pop("choices")
    stored = flat_settings(settings) | choices
    runs = pd.DataFrame([settings_added_later(stored) | stored])
    return deviations(planned_settings(study.name, first), first, runs)


def test_a_run_that_a_study_starts_is_made_as_planned(study):
    assert deviations_of_first_run(study, "device.threads=2", "dataset.root=x") == ""


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("+task.loss._target_=torch.nn.MultiMarginLoss", "task.loss._target_ is torch"),
        ("callbacks=[gradient_norm]", "callbacks.gradient_norm._target_ is normlab"),
        ("+model.stem=3", "model.stem is 3 instead of –"),
        ("norm.eps=0.1", "norm.eps is 0.1 instead of 1e-05"),
        ("~norm.eps", "norm.eps is – instead of 1e-05"),
        ("dataset.batch_size=8", "dataset.batch_size is 8 instead of 64"),
    ],
)
def test_a_run_with_other_settings_is_not_made_as_planned(word, told):
    study = read_study("custom_equals_torch")  # its grid has norms and data sets
    assert told in deviations_of_first_run(study, word)


def test_every_arm_of_a_claim_is_planned(study):
    check_plan(study.name, study.plan)
    runs = grid(study.params)
    for claim in claims(study):
        planned = set(arm_labels(runs, name_list(claim["by"])))
        named = {setting_text(arm) for arm in claim.get("arms", [])}
        assert named | {setting_text(claim["baseline"])} <= planned, claim["says"]


def test_every_setting_of_a_claim_varies_in_the_grid(study):
    runs = grid(study.params)
    for claim in claims(study):
        keys = [*name_list(claim["by"]), *claim.get("within", [])]
        for name in ("select", "largest_stable", "slope"):
            if claim.get(name):
                keys.append(claim[name])
        for key, values in (claim.get("interaction") or {}).items():
            keys.append(key)
            assert set(map(setting_text, values)) <= set(runs[key])
        for key in keys:
            assert runs[key].nunique() > 1, (claim["says"], key)


def test_ten_seeds_or_more_are_planned_and_needed(study):
    assert len(planned_seeds(study.params)) >= 10
    assert all(claim["minimum_seeds"] >= 10 for claim in claims(study))


@pytest.mark.parametrize("file", FILES, ids=STUDIES)
def test_the_head_of_a_study_names_its_command_and_runs(file: Path):
    head = file.read_text().partition("\ngroup:")[0]
    assert f"study={file.stem}" in head
    for word in ("# command ", "# runs "):
        assert word in head
