"""What a job of SLURM does with the runs of its submission."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_folder, run_name
from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.endings import Stopped
from normlab.leases import VARIABLE, Record
from normlab.locks import Lock
from normlab.norms import own
from normlab.norms.loading import load_norm
from normlab.results import read_result, write_result
from normlab.sweeps import slurm_task
from normlab.sweeps.json_lines import JsonLines
from normlab.sweeps.slurm_ledger import ended_runs, write_submission
from normlab.sweeps.slurm_task import Task

OPTIONS = {"timeout_min": 60, "signal_delay_s": 100, "max_num_timeout": 2}


@pytest.fixture(scope="module")
def base(compose):
    config = compose("device=cpu", "logger=[]", "trainer.max_epochs=1")
    return OmegaConf.to_container(config, resolve=True)


@pytest.fixture
def submit(base, tmp_path):
    """submit(count=, workers=, **changes): a submission of runs; its folder."""

    def make(count=1, workers=0, **changes):
        paths = {"outputs": str(tmp_path / "outputs")}
        make.configs = [
            base | changes | {"seed": seed, "paths": paths} for seed in range(count)
        ]
        folder = tmp_path / ".slurm"
        submission = write_submission(
            folder,
            {run_name(config): config for config in make.configs},
            "c",
            "n",
            (),
            workers=workers,
            **OPTIONS,
        )
        return folder / submission.key

    return make


@pytest.fixture
def trained(monkeypatch):
    """The seeds that were trained, by a function that stores nothing."""
    seeds = []

    def train(config):
        seeds.append(config["seed"])
        return {"status": "finished", "metrics": {"x": config["seed"]}}

    monkeypatch.setattr(slurm_task, "_train", train)
    return seeds


def ends(folder):
    return ended_runs(JsonLines(folder / "journal.jsonl").read_new())


def test_a_configuration_that_was_changed_is_not_trained(submit, trained):
    folder = submit(count=2)
    path = folder / "runs.jsonl"
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + second.replace('"max_epochs": 1', '"max_epochs": 3'))
    Task(folder, 1).work()
    Task(folder, 0).work()
    assert trained == [0]
    result = ends(folder)[1]["result"]
    assert result["status"] == "failed"
    run = run_name(submit.configs[1])
    assert result["reason"] == f"{path} was changed after {run} was submitted"


def test_a_run_is_trained_and_its_end_is_noted(submit, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    folder = submit()
    Task(folder, 0).work()
    (config,) = submit.configs
    print(ends(folder), run_folder(config))
    result = read_result(run_folder(config))
    assert (result["run"], result["status"]) == (run_name(config), "finished")
    end = ends(folder)[0]
    assert end.pop("time")[:2] == "20"
    assert end == {"event": "ended", "index": 0, "status": "finished"}


def test_each_task_of_an_array_does_its_own_run(submit, trained):
    folder = submit(count=3)
    Task(folder, 2).work()
    Task(folder, 0).work()
    assert trained == [2, 0]
    noted = ends(folder)
    assert set(noted) == {0, 2}
    assert noted[2]["result"] == {"status": "finished", "metrics": {"x": 2}}


def test_workers_begin_apart_and_leave_nothing_out(submit, trained):
    folder = submit(count=5, workers=2)
    task = Task(folder, 1)
    assert list(task._candidates()) == [2, 3, 4, 0, 1]
    task.work()
    assert trained == [2, 3, 4, 0, 1]
    Task(folder, 0).work()
    assert len(trained) == 5
    assert set(ends(folder)) == set(range(5))


def test_a_run_that_another_worker_trains_is_left_to_it(submit, trained):
    folder = submit(count=2, workers=1)
    path = run_folder(submit.configs[0])
    path.mkdir(parents=True)
    with Lock(path / ".lock"):
        Task(folder, 0).work()
    assert trained == [1]
    Task(folder, 0).work()  # as if it had been queued again
    assert trained == [1, 0]


@pytest.fixture
def lease(submit, monkeypatch):
    """lease(folder, renewals) writes the lease of a worker on another machine.

    There are no locks, and a lease is stale after half a second.
    """

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def write(folder, renewals=0):
        record = Record("a token", "another machine", 1, "", 0.5, f"{renewals:09}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock.lease.1").write_bytes(record.to_bytes())

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setenv(VARIABLE, "0.5")
    return write


def test_the_run_of_a_worker_killed_on_another_machine_is_trained(
    submit, trained, lease
):
    folder = submit(count=2, workers=1)
    path = run_folder(submit.configs[0])
    lease(path)
    (path / "metrics.csv").write_text("epoch\n1\n")
    with (path / "metrics.csv").open("a") as still_open:
        Task(folder, 0).work()
        still_open.write("2\n")
    assert trained == [1, 0]
    assert (path / "metrics.csv").read_text() == "epoch\n1\n"


def test_the_run_of_a_worker_that_renews_its_lease_is_left_to_it(
    submit, trained, lease, monkeypatch
):
    folder = submit(count=2, workers=1)
    path = run_folder(submit.configs[0])
    lease(path)

    def sleep(seconds):
        time.sleep(seconds)
        lease(path, renewals=4)
        waited.append(seconds)

    waited = []
    monkeypatch.setattr(slurm_task, "time", SimpleNamespace(sleep=sleep))
    Task(folder, 0).work()
    assert (trained, waited) == ([1], [0.5])


def test_a_run_that_another_worker_has_ended_is_not_waited_for(
    submit, lease, monkeypatch
):
    folder = submit(count=2, workers=1)
    lease(run_folder(submit.configs[0]))

    def train(config):
        Task(folder, 0)._note_end(0, "finished")  # as the other worker does
        return {"status": "finished", "metrics": {}}

    waited = []
    monkeypatch.setattr(slurm_task, "_train", train)
    monkeypatch.setattr(slurm_task, "time", SimpleNamespace(sleep=waited.append))
    Task(folder, 0).work()
    assert waited == []
    assert set(ends(folder)) == {0, 1}


def test_a_folder_of_another_configuration_fails_its_run_alone(submit, trained):
    folder = submit(count=2, workers=1)
    path = run_folder(submit.configs[0])
    path.mkdir(parents=True)
    write_result(path, {"status": "finished", "config_digest": "another"})
    Task(folder, 0).work()
    assert trained == [1]
    assert "the result of another configuration" in ends(folder)[0]["result"]["reason"]


def test_a_full_disk_ends_the_job(submit, monkeypatch):
    stopped = Stopped("no space is left", 1)
    monkeypatch.setattr(slurm_task, "_train", lambda config: stopped)
    folder = submit(count=3, workers=1)
    with pytest.raises(SystemExit) as end:
        Task(folder, 0).work()
    assert end.value.code == 1
    (noted,) = ends(folder).values()
    assert (noted["stopped"], noted["exit_code"]) == ("no space is left", 1)


def test_rerun_empties_the_folder_once(submit, trained):
    folder = submit(rerun=True)
    (config,) = submit.configs
    path = run_folder(config)
    (path / "checkpoints").mkdir(parents=True)
    old = path / "checkpoints" / "last.ckpt"
    old.write_text("")

    def interrupt(config):
        assert not config["rerun"]
        assert not old.exists()
        old.parent.mkdir()
        old.write_text("new")
        raise SystemExit(138)

    slurm_task._train, train = interrupt, slurm_task._train
    with pytest.raises(SystemExit):
        Task(folder, 0).work()
    slurm_task._train = train
    Task(folder, 0).work()
    assert old.read_text() == "new"
    assert trained == [0]


def test_a_preempted_job_may_always_be_queued_again(submit):
    folder = submit()
    for _ in range(5):
        assert Task(folder, 0).may_be_queued_again(60.0)
    assert ends(folder) == {}


def test_a_job_out_of_time_is_queued_again_so_often(submit):
    folder = submit(count=2)
    late = 60 * OPTIONS["timeout_min"] - OPTIONS["signal_delay_s"]
    for _ in range(OPTIONS["max_num_timeout"]):
        task = Task(folder, 1)
        task.current = 1
        assert task.may_be_queued_again(late)
    task = Task(folder, 1)
    task.current = 1
    assert not task.may_be_queued_again(late)
    (noted,) = ends(folder).values()
    assert noted["index"] == 1
    assert "ran out of time more than 2 times" in noted["result"]["reason"]
    assert Task(folder, 0).may_be_queued_again(late)  # another task counts for itself


def test_the_modules_of_the_command_can_be_imported(submit, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    folder = submit()
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert str(tmp_path / "mine") not in sys.path
    Task(folder, 0)
    assert str(tmp_path / "mine") in sys.path


NORM = """
from torch import nn

class Scale(nn.Module):
    def __init__(self, num_features, factor=2.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor
"""
JOB_WITH_NORMS = """
import json, sys
from pathlib import Path
from normlab.sweeps.slurm_task import Task

Task(Path(sys.argv[1]), 0)
from normlab.norms.own import own_norm

for name, source in json.loads(sys.argv[2]):
    print(own_norm(4, 1, norm=name, source=source).factor)
"""


def test_a_job_finds_norms_without_the_environment(submit, monkeypatch, tmp_path):
    (tmp_path / "in_a_file.py").write_text(NORM)
    (tmp_path / "in_a_notebook.py").write_text(NORM.replace("2.0", "5.0"))
    (tmp_path / "pickles").mkdir()
    monkeypatch.setattr(own, "_offered", {})
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "")
    monkeypatch.setattr(own, "_folder_of_pickles", lambda: tmp_path / "pickles")
    in_a_file = own.offer_file(f"{tmp_path / 'in_a_file.py'}:Scale")
    in_a_notebook = own.offer(load_norm(f"{tmp_path / 'in_a_notebook.py'}:Scale"))
    own.share(in_a_notebook)
    folder = submit()
    shutil.rmtree(tmp_path / "pickles")  # the command has ended
    norms = [(norm.name, norm.digest) for norm in (in_a_file, in_a_notebook)]
    done = subprocess.run(
        [sys.executable, "-c", JOB_WITH_NORMS, str(folder), json.dumps(norms)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2.0\n5.0\n"


PROGRAM = """
import os, signal, sys
from pathlib import Path
from normlab.sweeps import slurm_task

def train(config):
    os.kill(os.getpid(), {number})
    return {{"status": "finished", "metrics": {{}}}}

slurm_task._train = train
slurm_task.main(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("number", "code", "asked"),
    [
        (signal.SIGUSR1, 138, "requeue 7_0\n"),
        (signal.SIGUSR2, 138, "requeue 7_0\n"),
        (signal.SIGTERM, -signal.SIGTERM, None),
    ],
)
def test_signals_of_slurm_queue_the_job_again(submit, tmp_path, number, code, asked):
    folder = submit()
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "8",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "0",
    }
    program = PROGRAM.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", program, str(folder)], env=environment)
    assert done.returncode == code
    path = tmp_path / "asked"
    assert (path.read_text() if path.exists() else None) == asked
    assert ends(folder) == {}


def test_a_run_folder_that_is_a_link_is_not_emptied(submit, trained, tmp_path):
    folder = submit(rerun=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("1")
    (config,) = submit.configs
    link = run_folder(config)
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    Task(folder, 0).work()
    assert trained == []
    assert f"{link} must not be a link" in ends(folder)[0]["result"]["reason"]
    assert [path.name for path in precious.iterdir()] == ["thesis"]
