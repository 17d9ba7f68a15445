import json
import math

import pytest

from normlab.config.identity import digest
from normlab.sweeps.jobs import (
    EndedJob,
    Job,
    arm_keys,
    estimate_seconds,
    failed_result,
    format_settings,
    short_names,
    values_by_arm,
    varied_keys,
)

from .ended_jobs import ENDED, ended


@pytest.fixture
def job(compose_job, tmp_path):
    """job(*overrides) -> a job of the default sweep that is to run."""
    return lambda *overrides: Job(
        overrides, compose_job([*overrides, f"paths.outputs={tmp_path}"])
    )


def store(job, status="finished", seconds=10.0):
    job.folder.mkdir(parents=True)
    result = {
        "status": status,
        "metrics": {},
        "seconds": seconds,
        "config_digest": digest(job.config),
    }
    (job.folder / "result.json").write_text(json.dumps(result))


def test_settings_are_the_overrides_by_key(job):
    assert job("norm=torch", "optimizer.lr=0.5").settings == {
        "norm": "torch",
        "optimizer.lr": "0.5",
    }


@pytest.mark.parametrize(
    ("status", "state"),
    [("finished", "done"), ("diverged", "done"), ("failed", "failed")],
)
def test_the_state_of_a_run_that_has_ended(job, status, state):
    store(job("seed=1"), status)
    assert job("seed=1").state == state
    assert job("seed=1").stored_result["status"] == status
    assert job("seed=2").state == "new"
    again = job("seed=1", "rerun=true")
    assert (again.state, again.stored_result) == ("new", None)


def test_retry_trains_a_failed_run_again(job):
    store(job(), "failed")
    retried = job("retry=failed")
    assert (retried.state, retried.stored_result) == ("failed", None)


def test_a_checkpoint_without_a_result_is_an_interrupted_run(job):
    (job().folder / "checkpoints").mkdir(parents=True)
    assert job().state == "new"
    (job().folder / "checkpoints" / "last.ckpt").touch()
    assert job().state == "interrupted"
    assert job("rerun=true").state == "new"


def test_a_damaged_result_counts_as_none(job):
    store(job())
    (job().folder / "result.json").write_text("{")
    assert job().state == "new"
    assert estimate_seconds([job()]) == (None, ["digits-mlp"])


def test_the_estimate_is_the_mean_of_the_group_for_every_open_run(job):
    store(job("seed=0"), seconds=10.0)
    store(job("seed=1"), seconds=20.0)
    store(job("seed=2"), "diverged", seconds=1000.0)
    waiting = [job(f"seed={seed}") for seed in range(7)]
    assert estimate_seconds(waiting) == (4 * 15.0, [])
    assert estimate_seconds(waiting, workers=2) == (2 * 15.0, [])
    assert estimate_seconds(waiting[:4], workers=8) == (15.0, [])
    assert estimate_seconds(waiting[:3]) == (None, [])
    other = job("dataset=diabetes", "model=tabular")
    assert estimate_seconds([*waiting[:4], other]) == (15.0, ["diabetes-tabular"])


def test_varied_keys_are_those_with_several_values():
    assert varied_keys(ENDED) == ["norm", "seed"]
    assert varied_keys(ENDED[:1]) == []


def test_names_are_short_if_that_is_unambiguous():
    assert short_names(["norm", "optimizer.lr", "+norm.size"]) == {
        "norm": "norm",
        "optimizer.lr": "lr",
        "+norm.size": "size",
    }
    assert short_names(["norm.momentum", "optimizer.momentum", "seed"]) == {
        "norm.momentum": "norm.momentum",
        "optimizer.momentum": "optimizer.momentum",
        "seed": "seed",
    }


def test_an_arm_has_the_values_of_its_finished_jobs():
    assert values_by_arm(ENDED, "test/accuracy") == [
        ({"norm": "none"}, [0.25, 0.75]),
        ({"norm": "custom"}, [0.5]),
        ({"norm": "ghost"}, []),
    ]


def test_values_that_are_not_finite_are_left_out():
    values = (0.25, None, math.nan, math.inf, 0.75)  # None is what is stored of them
    jobs = [ended(seed=seed, accuracy=value) for seed, value in enumerate(values)]
    assert values_by_arm(jobs, "test/accuracy") == [({}, [0.25, 0.75])]


def test_a_failure_with_a_folder_says_where_its_traceback_is(tmp_path):
    failed = ended("failed", norm="ghost", seed=3, folder=tmp_path)
    traceback = tmp_path / "traceback.txt"
    assert failed.failure(["seed"]) == f"seed=3: because; see {traceback}"
    assert failed.failure([]).startswith("norm=ghost seed=3: because; ")


def test_a_failure_without_a_folder_names_no_traceback():
    failed = EndedJob(("norm=ghost", "~seed"), failed_result("no such norm"))
    assert failed.failure(["norm"]) == "norm=ghost: no such norm"
    assert failed.failure(["lr"]) == "norm=ghost ~seed: no such norm"


def test_settings_are_shown_by_their_short_names():
    job = ended(**{"norm": "torch", "optimizer.lr": 0.1, "seed": 3})
    assert format_settings(job, ["norm", "optimizer.lr"]) == "norm=torch lr=0.1"
    assert format_settings(job, ["norm", "scheduler.gamma"]) == "norm=torch"


def test_arms_differ_in_more_than_the_seed():
    assert arm_keys(ENDED) == ["norm"]


def test_the_result_of_a_job_that_ended_without_one():
    assert failed_result("no memory") == {
        "status": "failed",
        "reason": "no memory",
        "metrics": {},
        "seconds": 0.0,
    }
