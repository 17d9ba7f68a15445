import json
import os
import stat
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from normlab.config.identity import digest, run_folder
from normlab.endings import DiskFull, Interrupted, Stopped
from normlab.sweeps import queue
from normlab.sweeps.queue import (
    check_options,
    run_queued,
    slots,
    train_one,
    visible_gpus,
)
from normlab.sweeps.workers import Died

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def configs(count, devices=1, accelerator="auto"):
    return [
        {"device": {"devices": devices, "accelerator": accelerator}}
        for _ in range(count)
    ]


@pytest.fixture
def cores(monkeypatch):
    """cores(8): as on a machine with 8 cores."""
    return lambda count: monkeypatch.setattr(queue, "count_cores", lambda: count)


@pytest.mark.parametrize(
    ("jobs", "options", "workers", "threads"),
    [
        (100, {}, 8, "1"),
        (3, {}, 3, "2"),
        (100, {"workers": 2}, 2, "4"),
        (100, {"workers": 16}, 16, "1"),
        (1, {"workers": 4}, 1, "8"),
    ],
)
def test_workers_share_the_cores(cores, jobs, options, workers, threads):
    cores(8)
    assert (
        slots(configs(jobs), NO_GPU, **options)
        == [{"OMP_NUM_THREADS": threads}] * workers
    )


def test_runs_in_several_processes_leave_room_for_them(cores):
    cores(8)
    assert slots(configs(100, devices=2), NO_GPU) == [{"OMP_NUM_THREADS": "2"}] * 4


def test_the_limit_of_threads_holds_for_every_worker(cores):
    cores(8)
    assert (
        slots(configs(2), NO_GPU | {"OMP_NUM_THREADS": "1"})
        == [{"OMP_NUM_THREADS": "1"}] * 2
    )
    assert (
        slots(configs(2), NO_GPU | {"OMP_NUM_THREADS": "64"})
        == [{"OMP_NUM_THREADS": "4"}] * 2
    )
    assert (
        slots(configs(2), NO_GPU | {"OMP_NUM_THREADS": "4,2"})
        == [{"OMP_NUM_THREADS": "4"}] * 2
    )


def gpus_of(workers):
    return [worker.get("CUDA_VISIBLE_DEVICES") for worker in workers]


def test_every_worker_has_a_gpu_of_its_own(cores):
    cores(8)
    environment = {"CUDA_VISIBLE_DEVICES": "0,1,3"}
    assert gpus_of(slots(configs(10), environment)) == ["0", "1", "3"]
    assert gpus_of(slots(configs(2), environment)) == ["0", "1"]
    assert gpus_of(slots(configs(10), environment, jobs_per_gpu=2)) == [
        "0",
        "1",
        "3",
        "0",
        "1",
        "3",
    ]
    assert gpus_of(slots(configs(10), environment, workers=4)) == ["0", "1", "3", "0"]
    assert gpus_of(slots(configs(10, devices=2), environment)) == ["0,1"]
    assert [
        worker["OMP_NUM_THREADS"] for worker in slots(configs(10), environment)
    ] == ["2", "2", "2"]


def test_runs_on_the_cpu_take_no_gpu(cores):
    cores(2)
    assert gpus_of(
        slots(configs(10, accelerator="cpu"), {"CUDA_VISIBLE_DEVICES": "0"})
    ) == [None, None]


@pytest.mark.parametrize(
    ("variable", "names"),
    [
        ("0,2", ["0", "2"]),
        ("", []),
        ("-1", []),
        ("GPU-1 , GPU-2", ["GPU-1", "GPU-2"]),
        ("0,-1,1", ["0"]),
    ],
)
def test_visible_gpus_are_those_of_the_environment(variable, names):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": variable}) == names


def test_the_driver_is_asked_if_the_variable_is_not_set(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-aaa\necho GPU-bbb\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert visible_gpus({}) == ["GPU-aaa", "GPU-bbb"]
    program.write_text("#!/bin/sh\necho 'no devices were found'\nexit 6\n")
    assert visible_gpus({}) == []


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= queue.count_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be auto or a whole number of at least 1, got 0"),
        (
            {"workers": "two"},
            "workers must be auto or a whole number of at least 1, got 'two'",
        ),
        (
            {"jobs_per_gpu": 0.5},
            "jobs_per_gpu must be a whole number of at least 1, got 0.5",
        ),
        (
            {"jobs_per_worker": -1},
            "jobs_per_worker must be null or a whole number of at least 1, got -1",
        ),
    ],
)
def test_options_that_no_queue_can_have_are_refused(options, message):
    with pytest.raises(ValueError) as error:
        check_options(
            **{"workers": "auto", "jobs_per_gpu": 1, "jobs_per_worker": None} | options
        )
    assert str(error.value) == f"hydra.launcher.{message}"


def test_good_options_pass():
    check_options("auto", 1, None)
    check_options(4, 2, 1)


@pytest.fixture
def plain(tmp_path):
    """plain(seed) -> what a queue reads of a configuration."""

    def make(seed):
        choices = {"norm": "custom", "optimizer": "sgd"}
        choices |= {"dataset": "digits", "model": "mlp"}
        config = {
            "seed": seed,
            "choices": choices,
            "group": "g",
            "paths": {"outputs": str(tmp_path)},
        }
        config |= {
            "optimizer": {"lr": 0.1},
            "rerun": False,
            "retry": None,
            "progress": True,
        }
        config |= {"norm": {}, "dataset": {"load": {}}}
        return config | {"device": {"devices": 1, "accelerator": "cpu"}}

    return make


def store(config, **result):
    run_folder(config).mkdir(parents=True)
    result |= {"config_digest": digest(config)}
    (run_folder(config) / "result.json").write_text(json.dumps(result))


class Pool:
    """Takes the place of `Workers`: yields the values of the class, last job first."""

    values = ()

    def __init__(self, function, environments, jobs_per_worker, preload):
        Pool.started = (function, environments, jobs_per_worker)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        Pool.closed = True

    def run(self, items):
        Pool.items = items
        yield from reversed(list(enumerate(Pool.values)))


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(queue, "Workers", Pool)
    Pool.started, Pool.closed = None, False
    return Pool


def test_stored_results_need_no_worker(plain, pool):
    for seed in range(2):
        store(plain(seed), status="finished", seed=seed)
    results = list(run_queued([plain(0), plain(1)]))
    assert [(index, result["seed"]) for index, result in results] == [(0, 0), (1, 1)]
    assert pool.started is None


def test_jobs_without_a_result_are_trained_side_by_side(plain, pool, cores):
    cores(2)
    store(plain(1), status="diverged")
    pool.values = ({"status": "finished", "number": 0}, Died(-9))
    results = list(run_queued([plain(0), plain(1), plain(2)], jobs_per_worker=5))
    assert [index for index, _ in results] == [1, 2, 0]
    assert results[2][1]["number"] == 0
    died = results[1][1]
    assert died["status"] == "failed"
    assert died["reason"] == (
        "its worker process was ended by SIGKILL "
        "(the system does this when memory runs out); the same command tries it again"
    )
    assert pool.started == (train_one, [{"OMP_NUM_THREADS": "1"}] * 2, 5)
    assert [(item["seed"], item["progress"]) for item in pool.items] == [
        (0, False),
        (2, False),
    ]
    assert pool.closed


def test_a_full_disk_ends_the_queue(plain, pool):
    pool.values = ({"status": "finished"}, Stopped("no space is left", 1))
    with pytest.raises(Stopped, match="no space is left"):
        list(run_queued([plain(0), plain(1)]))
    assert pool.closed


@pytest.fixture
def raising(monkeypatch):
    """raising(error): let training raise this."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run_raises(error):
        def run(config):
            raise error

        monkeypatch.setattr(queue, "run", run)

    return run_raises


def test_a_worker_returns_what_went_wrong(raising, tmp_path):
    raising(ValueError("optimizer.lr is too large"))
    assert train_one({})["reason"] == "optimizer.lr is too large"
    raising(RuntimeError("out of memory"))
    result = train_one({})
    assert (result["status"], result["reason"]) == (
        "failed",
        "RuntimeError: out of memory",
    )
    raising(DiskFull(tmp_path))
    stopped = train_one({})
    assert isinstance(stopped, Stopped)
    assert stopped.exit_code == 1
    assert "no space is left" in stopped.reason


def test_a_signal_for_one_worker_ends_it(raising):
    raising(Interrupted(15))
    with pytest.raises(SystemExit) as end:
        train_one({})
    assert end.value.code == 143


def test_a_worker_uses_its_share_of_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(
        queue, "run", lambda config: {"threads": torch.get_num_threads()}
    )
    before = torch.get_num_threads()
    try:
        assert train_one({}) == {"threads": 3}
    finally:
        torch.set_num_threads(before)


FIRST_JOB = """
import json
import sys
from importlib import import_module

from normlab.sweeps.queue import preload, train_one

config = json.load(sys.stdin)
for name in preload(config):
    import_module(name)
before = set(sys.modules)
result = train_one(config)
later = set(sys.modules) - before
print(json.dumps([result["status"], sorted(later)]))
"""


@pytest.mark.slow
def test_a_worker_has_its_imports_before_its_first_job(compose, tmp_path):
    words = ["trainer.max_epochs=1", "progress=false", "device=cpu"]
    config = compose(*words, f"paths.outputs={tmp_path}")
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_JOB],
        input=json.dumps(OmegaConf.to_container(config, resolve=True)),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    status, later = json.loads(ended.stdout.splitlines()[-1])
    assert status == "finished", ended.stderr
    # The job itself imports the module that the configuration names, and its parts.
    assert {name for name in later if name.startswith("normlab.")} == {
        "normlab.data.images",
        "normlab.data.image_files",
        "normlab.data.mnist_files",
        "normlab.data.tiny_imagenet",
        "normlab.data.torchvision_files",
    }
    libraries = {"torch", "pytorch_lightning", "torchvision", "hydra", "sklearn"}
    assert not libraries & set(later)
