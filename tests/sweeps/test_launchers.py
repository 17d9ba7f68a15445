import pytest
from hydra.core.utils import JobStatus
from hydra.types import HydraContext

from normlab.endings import Stopped
from normlab.sweeps import queue
from normlab.sweeps.launchers import ClusterLauncher, StreamingLauncher


class Reversed(StreamingLauncher):
    """Yields the seed of every job, the last one first."""

    closed = False

    def stream_results(self, configs):
        self.configs = configs
        try:
            for index in reversed(range(len(configs))):
                yield index, {"status": "finished", "seed": configs[index]["seed"]}
        finally:
            self.closed = True


class Cluster(ClusterLauncher):
    """Yields what `values` has for the seeds of the jobs that it must train."""

    values = None

    def train(self, configs):
        self.trained = [config["seed"] for config in configs]
        for index, seed in enumerate(self.trained):
            yield index, self.values[seed]


@pytest.fixture
def set_up(start_sweep):
    """set_up(launcher) -> the launcher, as Hydra sets it up."""

    def set_up_launcher(launcher):
        loader, master = start_sweep()
        context = HydraContext(config_loader=loader, callbacks=None)
        launcher.setup(hydra_context=context, task_function=None, config=master)
        return launcher

    return set_up_launcher


def test_launch_returns_all_results_in_the_order_of_the_jobs(set_up):
    launcher = set_up(Reversed())
    jobs = [["seed=3", "norm=torch"], ["seed=5"]]
    returned = launcher.launch(jobs, initial_job_idx=7)
    assert [job.overrides for job in returned] == jobs
    assert [job.status for job in returned] == [JobStatus.COMPLETED] * 2
    assert [job.return_value["seed"] for job in returned] == [3, 5]
    assert launcher.configs[0]["choices"]["norm"] == "torch"
    assert launcher.closed


def test_a_mistake_in_one_job_is_found_before_any_job_runs(set_up):
    launcher = set_up(Reversed())
    with pytest.raises(ValueError, match="optimizer.lr must be a number above 0"):
        launcher.launch([["seed=3"], ["optimizer.lr=-1"]], initial_job_idx=0)
    assert not hasattr(launcher, "configs")


@pytest.fixture
def stored(monkeypatch):
    """The results that are stored, by seed."""
    results = {}
    monkeypatch.setattr(queue, "run_folder", lambda config: config["seed"])
    monkeypatch.setattr(queue, "stored_result", lambda seed, config: results.get(seed))
    return results


def test_a_cluster_trains_only_jobs_without_a_stored_result(stored):
    stored[4] = {"status": "diverged"}
    launcher = Cluster()
    launcher.values = {3: {"status": "finished"}, 5: {"status": "failed"}}
    configs = [{"seed": seed} for seed in (3, 4, 5)]
    assert list(launcher.stream_results(configs)) == [
        (1, {"status": "diverged"}),
        (0, {"status": "finished"}),
        (2, {"status": "failed"}),
    ]
    assert launcher.trained == [3, 5]


def test_a_full_disk_on_the_cluster_stops_the_sweep(stored):
    launcher = Cluster()
    launcher.values = {3: {"status": "finished"}, 4: Stopped("no space is left", 1)}
    results = launcher.stream_results([{"seed": 3}, {"seed": 4}])
    assert next(results) == (0, {"status": "finished"})
    with pytest.raises(Stopped, match="no space is left"):
        next(results)
