"""The loop of a search over runs that are made up."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from normlab.search.driver import print_search, run_search
from normlab.search.options import Options
from normlab.search.plan import SearchPlan
from normlab.search.storage import (
    Search,
    begun_trials,
    load_optuna_study,
    storage_address,
)

from .outcomes import OPTIONS, SPACE

MEDIAN = {"_target_": "optuna.pruners.MedianPruner"}


def compose(overrides):
    """The settings of a job by key, with what the folder of a run is named by."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    config = {override.key_or_group: override.value() for override in parsed}
    if config["norm"] == "refused":
        raise ValueError("norm must not be refused")
    return config


class Runs:
    """Takes the place of a launcher: `result(config)` is the result of a job."""

    def __init__(self, result):
        self.result = result
        self.batches = []

    def __call__(self, jobs):
        assert jobs
        self.batches.append([job.config for job in jobs])
        for index in reversed(range(len(jobs))):
            yield index, self.result(jobs[index].config)

    @property
    def seeds(self):
        return [[config["seed"] for config in batch] for batch in self.batches]


def finished(value):
    metrics = {"val/accuracy": value}
    return {"status": "finished", "metrics": metrics, "reason": None, "seconds": 1.0}


def ended(status):
    reason = f"{status} on purpose"
    result = {"status": status, "metrics": {}, "reason": reason, "seconds": 0.5}
    return result | {"run": "group/run"}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """plan(**options) -> a plan over `SPACE` with the seeds 0 and 4."""
    monkeypatch.setattr("normlab.search.plan.run_folder", lambda _: tmp_path / "run")

    def make(space=SPACE, **options):
        config = {"retry": None, "choices": {"norm": "custom", "optimizer": "sgd"}}
        options = Options(**OPTIONS | options)
        return SearchPlan(options, space, ["a=1"], config, "val/accuracy", "maximize")

    return make


def test_a_trial_of_a_process_killed_on_another_machine_is_run(plan, lease, capsys):
    runs = Runs(lambda _: finished(0.5))
    made = plan(n_trials=1)
    words = (made.folder, made.name, made.options, made.space, made.definition)
    with Search(*words) as search:
        search.take()
    lease(made.folder)
    assert run_search(made, compose, runs, workers=1)
    assert runs.seeds == [[0, 4]]
    assert [trial.value for trial in stored(made)] == [0.5]
    assert "waiting 0.5 s for trials that may be abandoned" in capsys.readouterr().err


def stored(plan):
    address = storage_address("journal", plan.folder)
    return begun_trials(load_optuna_study(address, plan.name).trials)


def test_every_trial_runs_with_every_seed(plan, capsys):
    runs = Runs(lambda config: finished(0.25 if config["seed"] == 0 else 0.75))
    made = plan(n_trials=3)
    assert run_search(made, compose, runs, workers=2)
    assert runs.seeds == [[0, 4, 0, 4], [0, 4]]
    trials = stored(made)
    assert [trial.value for trial in trials] == [0.5] * 3
    assert [trial.user_attrs["values"] for trial in trials] == [[0.25, 0.75]] * 3
    assert [trial.user_attrs["seconds"] for trial in trials] == [2.0] * 3
    for config in runs.batches[0]:
        assert config["a"] == 1
        assert "trial" not in config
    assert {config["optimizer.lr"] for config in runs.batches[1]} == {
        trials[2].params["optimizer.lr"]
    }
    out, err = capsys.readouterr()
    assert "best  trial 0, val/accuracy 0.5000, mean of 2 seeds" in out
    assert err.splitlines()[-1].startswith("3/3  ")


def test_n_jobs_overrides_the_number_of_workers(plan):
    runs = Runs(lambda config: finished(0.5))
    run_search(plan(n_trials=3, n_jobs=1), compose, runs, workers=8)
    assert runs.seeds == [[0, 4]] * 3


def test_a_stored_search_is_continued(plan):
    runs = Runs(lambda config: finished(0.5))
    run_search(plan(n_trials=2), compose, runs, workers=1)
    run_search(plan(n_trials=3), compose, runs, workers=1)
    assert len(runs.batches) == 3
    run_search(plan(n_trials=3), compose, runs, workers=1)
    assert len(runs.batches) == 3


def test_a_pruned_first_seed_keeps_the_others_from_running(plan):
    statuses = iter(["pruned", "finished", "finished"])

    def result(config):
        status = next(statuses)
        return finished(0.5) if status == "finished" else ended(status)

    runs = Runs(result)
    made = plan(n_trials=2, pruner=MEDIAN)
    made_up = []
    runs_report = "normlab.search.storage.Search.report_epochs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs_report, lambda *arguments: made_up.append(arguments))
        patch.setattr("normlab.sweeps.jobs.run_folder", lambda config: "a folder")
        assert run_search(made, compose, runs, workers=2)
    assert runs.seeds == [[0, 0], [4]]
    # Jobs end in reverse: the second trial is pruned, the first one is finished.
    states = [trial.state for trial in stored(made)]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED]
    # Only the first seed reports, and only a finished run may have been stored before.
    assert [config.get("trial", {}).get("number") for config in runs.batches[0]] == [
        *(0, 1)
    ]
    assert "trial" not in runs.batches[1][0]
    assert [arguments[2:] for arguments in made_up] == [("a folder", "val/accuracy")]


def test_the_callback_of_a_run_survives_hydras_syntax(plan, tmp_path):
    runs = Runs(lambda config: ended("pruned"))
    made = plan(n_trials=1, pruner=MEDIAN, study_name="it's, {a} search")
    run_search(made, compose, runs, workers=1)
    assert runs.batches[0][0]["trial"] == {
        "_target_": "normlab.search.pruning.ReportToTrial",
        "storage": f"{tmp_path}/it's, {{a}} search/study.journal",
        "study": "it's, {a} search",
        "number": 0,
    }


def test_a_failed_run_fails_its_trial_and_the_search(plan, capsys):
    runs = Runs(lambda config: ended("failed") if config["seed"] else finished(0.5))
    made = plan(n_trials=1)
    assert not run_search(made, compose, runs, workers=1)
    (trial,) = stored(made)
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == "seed 4: failed on purpose"
    assert not trial.user_attrs["lost"]
    assert "seed 4: failed on purpose" in capsys.readouterr().out


def test_settings_that_cannot_be_combined_fail_without_a_job(plan):
    from optuna.distributions import CategoricalDistribution

    space = SPACE | {"norm": CategoricalDistribution(["refused"])}
    runs = Runs(lambda config: finished(0.5))
    made = plan(space, n_trials=1)
    assert not run_search(made, compose, runs, workers=1)
    assert runs.batches == []
    (trial,) = stored(made)
    assert trial.user_attrs["reason"] == "seed 0: norm must not be refused"
    assert trial.user_attrs["lost"]


def test_a_dry_run_writes_nothing(plan, capsys):
    made = plan(n_trials=2)
    print_search(made, workers=1)
    assert not made.folder.exists()
    assert "2 trials, 0 done" in capsys.readouterr().out
    runs = Runs(lambda config: finished(0.5))
    run_search(plan(n_trials=1), compose, runs, workers=1)
    capsys.readouterr()
    print_search(made, workers=1)
    assert "2 trials, 1 done" in capsys.readouterr().out


def test_a_dry_run_refuses_another_definition(plan):
    run_search(plan(n_trials=1), compose, Runs(lambda config: finished(0.5)), 1)
    with pytest.raises(ValueError, match="was started with other settings: seeds="):
        print_search(plan(seeds=[0], study_name=None), workers=1)
