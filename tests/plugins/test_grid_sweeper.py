"""What the sweeper makes of launchers that tell nothing before all their jobs have ended."""

from importlib import import_module

import pytest
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from normlab.endings import Interrupted, Stopped


class Plan:
    def __init__(self, seed, stored=None):
        self.overrides, self.stored = (f"seed={seed}",), stored


def returned(value):
    status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    return JobReturn(status=status, _return_value=value)


class Launcher:
    """Remembers how it was called; a job returns, or raises, what `values` has for its overrides."""

    def __init__(self, values=None):
        self.values, self.calls = values or {}, []

    def launch(self, job_overrides, initial_job_idx):
        self.calls.append((initial_job_idx, job_overrides))
        return [
            returned(self.values.get(job[0], {"status": "finished"}))
            for job in job_overrides
        ]


def plugin():
    """The sweeper as Hydra has it, which loads the modules of plugins anew when it first looks for them."""
    Plugins.instance()
    return import_module("hydra_plugins.normlab_grid_sweeper")


def one_by_one(values=None):
    """A launcher that is Hydra's own."""
    return type("OneByOne", (Launcher, plugin().BasicLauncher), {})(values)


def outcomes(launcher, plans, **options):
    sweeper = plugin().GridSweeper(**options)
    sweeper.launcher = launcher
    return list(sweeper._outcomes(plans))


DONE = {"status": "finished", "stored": True}


def test_hydras_own_launcher_gets_one_job_at_a_time_and_none_that_is_done():
    launcher = one_by_one()
    ended = outcomes(launcher, [Plan(0), Plan(1, DONE), Plan(2)])
    assert launcher.calls == [(0, [["seed=0"]]), (2, [["seed=2"]])]
    assert ended == [
        (1, DONE),
        (0, {"status": "finished"}),
        (2, {"status": "finished"}),
    ]


def test_other_launchers_get_all_jobs_or_so_many_as_a_batch_may_hold():
    plans = [Plan(0), Plan(1, DONE), Plan(2), Plan(3)]
    launcher = Launcher()
    assert [index for index, _ in outcomes(launcher, plans)] == [1, 0, 2, 3]
    assert launcher.calls == [(0, [["seed=0"], ["seed=2"], ["seed=3"]])]
    launcher = Launcher()
    outcomes(launcher, plans, max_batch_size=2)
    assert launcher.calls == [(0, [["seed=0"], ["seed=2"]]), (3, [["seed=3"]])]


def test_a_job_that_raised_has_failed():
    launcher = one_by_one(
        {"seed=1": ValueError("seed must be"), "seed=2": RuntimeError("out of memory")}
    )
    results = dict(outcomes(launcher, [Plan(0), Plan(1), Plan(2)]))
    assert results[0]["status"] == "finished"
    assert (results[1]["status"], results[1]["reason"]) == ("failed", "seed must be")
    assert (results[2]["status"], results[2]["reason"]) == (
        "failed",
        "RuntimeError: out of memory",
    )


def test_a_signal_ends_the_sweep():
    launcher = one_by_one({"seed=1": Interrupted(15)})
    with pytest.raises(Stopped) as stopped:
        outcomes(launcher, [Plan(0), Plan(1), Plan(2)])
    assert (stopped.value.reason, stopped.value.exit_code) == (
        "stopped by SIGTERM",
        143,
    )
    assert len(launcher.calls) == 2


def test_jobs_that_a_cluster_lost_have_failed_unless_their_folder_has_a_result():
    class Loses(Launcher):
        def launch(self, job_overrides, initial_job_idx):
            plans[1].stored = DONE
            raise RuntimeError("job 7 was cancelled\nand more")

    plans = [Plan(0), Plan(1)]
    results = dict(outcomes(Loses(), plans))
    assert results[1] == DONE
    assert (results[0]["status"], results[0]["reason"]) == (
        "failed",
        "Loses: RuntimeError: job 7 was cancelled",
    )


def test_options_of_a_configuration_come_as_plain_lists():
    sweeper = plugin().GridSweeper(
        zip=OmegaConf.create([["a", "b"]]), exclude=OmegaConf.create([{"a": 1}])
    )
    assert sweeper.together == [["a", "b"]]
    assert sweeper.excluded == [{"a": 1}]
    assert all(
        type(part) in (list, dict)
        for part in (sweeper.together[0], sweeper.excluded[0])
    )
