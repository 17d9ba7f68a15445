"""The jobs of the grid sweeper, and how it hands them to launchers of other people."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf

from normlab.config.composition import normalized
from normlab.config.identity import configuration_directory
from normlab.endings import Interrupted, Stopped


class FakeJob:
    def __init__(self, seed, stored_result=None):
        self.overrides = (f"seed={seed}",)
        self.stored_result = stored_result


def returned(value):
    status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    return JobReturn(status=status, _return_value=value)


class Launcher:
    """Notes its calls; a job returns or raises what `values` has for its override."""

    def __init__(self, values=None):
        self.values = values or {}
        self.calls = []

    def launch(self, job_overrides, initial_job_idx):
        self.calls.append((initial_job_idx, job_overrides))
        return [
            returned(self.values.get(job[0], {"status": "finished"}))
            for job in job_overrides
        ]


def plugin():
    """The module that Hydra has; it imports plugins again when it first needs them."""
    Plugins.instance()
    return import_module("hydra_plugins.normlab_grid_sweeper")


def one_by_one(values=None):
    """A launcher that the sweeper takes for Hydra's own."""
    return type("OneByOne", (Launcher, plugin().BasicLauncher), {})(values)


def stream(launcher, jobs, **options):
    sweeper = plugin().GridSweeper(**options)
    sweeper.launcher = launcher
    return list(sweeper._stream_results(jobs))


DONE = {"status": "finished", "stored": True}


def test_hydras_own_launcher_gets_one_job_at_a_time():
    launcher = one_by_one()
    ended = stream(launcher, [FakeJob(0), FakeJob(1, DONE), FakeJob(2)])
    assert launcher.calls == [(0, [["seed=0"]]), (2, [["seed=2"]])]
    assert ended == [
        (1, DONE),
        (0, {"status": "finished"}),
        (2, {"status": "finished"}),
    ]


def test_other_launchers_get_all_jobs_or_one_batch_at_a_time():
    jobs = [FakeJob(0), FakeJob(1, DONE), FakeJob(2), FakeJob(3)]
    launcher = Launcher()
    assert [index for index, _ in stream(launcher, jobs)] == [1, 0, 2, 3]
    assert launcher.calls == [(0, [["seed=0"], ["seed=2"], ["seed=3"]])]
    launcher = Launcher()
    stream(launcher, jobs, max_batch_size=2)
    assert launcher.calls == [(0, [["seed=0"], ["seed=2"]]), (3, [["seed=3"]])]


def test_a_job_that_raises_an_exception_has_failed():
    launcher = one_by_one(
        {"seed=1": ValueError("seed must be"), "seed=2": RuntimeError("out of memory")}
    )
    results = dict(stream(launcher, [FakeJob(0), FakeJob(1), FakeJob(2)]))
    assert results[0]["status"] == "finished"
    assert (results[1]["status"], results[1]["reason"]) == ("failed", "seed must be")
    assert (results[2]["status"], results[2]["reason"]) == (
        "failed",
        "RuntimeError: out of memory",
    )


def test_a_signal_ends_the_sweep():
    launcher = one_by_one({"seed=1": Interrupted(15)})
    with pytest.raises(Stopped) as stopped:
        stream(launcher, [FakeJob(0), FakeJob(1), FakeJob(2)])
    assert (stopped.value.reason, stopped.value.exit_code) == (
        "stopped by SIGTERM",
        143,
    )
    assert len(launcher.calls) == 2


def test_jobs_that_ended_before_a_signal_are_reported():
    sweeper = plugin().GridSweeper()
    sweeper.launcher = Launcher({"seed=1": Interrupted(15)})
    results = sweeper._stream_results([FakeJob(0), FakeJob(1), FakeJob(2)])
    assert next(results) == (0, {"status": "finished"})
    with pytest.raises(Stopped):
        next(results)


def test_jobs_that_a_cluster_lost_have_failed():
    class Loses(Launcher):
        def launch(self, job_overrides, initial_job_idx):
            jobs[1].stored_result = DONE
            raise RuntimeError("job 7 was cancelled\nand more")

    jobs = [FakeJob(0), FakeJob(1)]
    results = dict(stream(Loses(), jobs))
    assert results[1] == DONE
    assert (results[0]["status"], results[0]["reason"]) == (
        "failed",
        "Loses: RuntimeError: job 7 was cancelled",
    )


def test_options_of_a_configuration_become_plain_lists():
    sweeper = plugin().GridSweeper(
        zip=OmegaConf.create([["a", "b"]]), exclude=OmegaConf.create([{"a": 1}])
    )
    assert sweeper.zipped == [["a", "b"]]
    assert sweeper.excluded == [{"a": 1}]
    assert all(
        type(part) in (list, dict) for part in (sweeper.zipped[0], sweeper.excluded[0])
    )


class Streaming(Launcher):
    """A launcher that yields results as jobs end, the last one first."""

    def stream_results(self, configs):
        for index in reversed(range(len(configs))):
            yield index, {"status": "finished", "seed": configs[index]["seed"]}

    def count_workers(self, configs):
        return len(configs)


def test_a_streaming_launcher_gets_all_configurations():
    jobs = [FakeJob(0), FakeJob(1, DONE)]
    for seed, job in enumerate(jobs):
        job.config = {"seed": seed}
    assert stream(Streaming(), jobs) == [
        (1, {"status": "finished", "seed": 1}),
        (0, {"status": "finished", "seed": 0}),
    ]


def test_workers_are_counted_by_launchers_that_can():
    sweeper = plugin().GridSweeper()
    sweeper.launcher = Streaming()
    assert sweeper._count_workers([{}, {}]) == 2
    sweeper.launcher = Launcher()
    assert sweeper._count_workers([{}, {}]) == 1


@pytest.fixture
def compose_jobs(tmp_path, monkeypatch):
    """compose_jobs(arguments, **options) -> the jobs, and how many were left out."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
        HydraConfig.instance().set_config(master)

        def compose(arguments, **options):
            sweeper = plugin().GridSweeper(**options)
            sweeper.hydra_context = SimpleNamespace(config_loader=loader)
            sweeper.config = master
            sweeper.launcher = Launcher()
            return sweeper._compose_jobs(arguments)

        yield compose
        HydraConfig.instance().cfg = None


def test_params_come_before_the_command_line(compose_jobs):
    jobs, excluded = compose_jobs(
        ["norm=torch", "optimizer.lr=0.1,0.2"],
        params={"seed": "0,1", "norm": "none"},
        exclude=[{"seed": 1, "optimizer.lr": 0.1}],
    )
    assert [job.overrides for job in jobs] == [
        ("seed=0", "norm=torch", "optimizer.lr=0.1"),
        ("seed=0", "norm=torch", "optimizer.lr=0.2"),
        ("seed=1", "norm=torch", "optimizer.lr=0.2"),
    ]
    assert excluded == 1
    assert [job.config["seed"] for job in jobs] == [0, 0, 1]
    assert {job.config["choices"]["norm"] for job in jobs} == {"torch"}


def test_a_combination_that_is_the_run_of_another_runs_once(compose_jobs, capsys):
    jobs, _ = compose_jobs(["seed=0,0,1", "optimizer.lr=1.0,1e0"])
    assert [job.overrides for job in jobs] == [
        ("seed=0", "optimizer.lr=1.0"),
        ("seed=1", "optimizer.lr=1.0"),
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "note: 4 of 6 combinations are runs that another one makes, and are left out: "
        "seed=0 lr=1.0, seed=1 lr=1.0"
    )


def test_runs_in_different_groups_are_different_runs(compose_jobs, capsys):
    jobs, _ = compose_jobs(["group=a,b", "seed=0"])
    assert len(jobs) == 2
    assert capsys.readouterr().err == ""


@pytest.fixture
def try_study(tmp_path, monkeypatch):
    """try_study(*words): the jobs of `-m study=small_batches study.try=true WORDS`."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def compose(*words):
            arguments = normalized(["study=small_batches", "study.try=true", *words])
            master = loader.load_configuration(
                "config", arguments, run_mode=RunMode.MULTIRUN
            )
            HydraConfig.instance().set_config(master)
            options = OmegaConf.to_container(master.hydra.sweeper, resolve=True)
            del options["_target_"]
            sweeper = plugin().GridSweeper(**options)
            sweeper.hydra_context = SimpleNamespace(config_loader=loader)
            sweeper.config = master
            sweeper.launcher = Launcher()
            return [job.config for job in sweeper._compose_jobs(arguments)[0]]

        yield compose
        HydraConfig.instance().cfg = None


def test_a_study_is_tried_with_few_seeds_epochs_and_samples(try_study):
    configs = try_study()
    assert [(config["norm"]["size"], config["seed"]) for config in configs] == [
        (size, seed) for size in (64, 32, 16, 8, 4, 2) for seed in (0, 1)
    ]
    for config in configs:
        assert config["trainer"]["max_epochs"] == 1
        assert config["trainer"]["max_samples"] == 500
        assert config["group"] == "small_batches-try"
        assert config["study"]["try"] is True


def test_a_trial_may_be_made_otherwise_but_never_joins_the_study(try_study):
    configs = try_study(
        *("norm.size=8,64", "seed=5", "trainer.max_epochs=2", "group=small_batches"),
        *("hydra.sweeper.try_settings={trainer.max_samples: 70}",),
    )
    assert [(config["norm"]["size"], config["seed"]) for config in configs] == [
        *((8, 5), (64, 5))
    ]
    for config in configs:
        assert config["trainer"]["max_epochs"] == 2
        assert config["trainer"]["max_samples"] == 70
        assert config["group"] == "small_batches-try"
    assert len(try_study("hydra.sweeper.try_seeds=3")) == 18
