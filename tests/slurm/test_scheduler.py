"""Sweeps on a real SLURM of two nodes, which `make slurm` brings up here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SECONDS = 540  # for a test, of which SLURM's own pace takes most
SLURM_FOLDER = Path(os.environ.get("NORMLAB_SLURM_FOLDER", "/tmp/normlab-slurm"))


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(
        os.environ.get("NORMLAB_SLURM") != "1",
        reason="set NORMLAB_SLURM=1, as `make slurm` does",
    ),
]


def ask(*command):
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def wait_for(condition, what, process=None):
    """Wait until a condition holds, or a process has ended; returns its value."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.communicate()}")
        time.sleep(0.5)
    raise AssertionError(f"never happened: {what}")


@pytest.fixture(autouse=True)
def empty_queue():
    """Begin and end without jobs."""
    cancel_all()
    yield
    cancel_all()


def cancel_all():
    subprocess.run(["scancel", f"--user={os.getuid()}"], timeout=60)
    wait_for(lambda: not ask("squeue", "--noheader"), "an empty queue")


class Sweeps:
    """Sweeps of a folder.

    Args:
        folder: in which the commands are given.
    """

    def __init__(self, folder):
        self.folder = folder
        self.marker = folder / "marker"
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        self.environment = os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}
        self.words = [
            *("device=cpu", "logger=[]", "trainer.max_epochs=3"),
            *("statistics.every_n_epochs=0", "hydra.launcher.signal_delay_s=20"),
        ]

    @property
    def waiting(self):
        """The words of a run that waits for a signal in its second epoch, once."""
        return [
            "trusted_packages=[waiting]",
            "model._target_=waiting.Waiting",
            f"+model.marker={self.marker}",
        ]

    def start(self, *words, script="train.py", stderr=subprocess.PIPE):
        command = [sys.executable, str(ROOT / script), *words]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def begin(self, *words):
        """Start a sweep on SLURM."""
        return self.start("-m", "hydra/launcher=submitit_slurm", *self.words, *words)

    def run(self, *words):
        """Run a sweep on SLURM: exit code, output and errors."""
        return ended(self.begin(*words))

    def jobs(self):
        """The output of the command `jobs`."""
        code, output, errors = ended(self.start("outputs", script="scripts/jobs.py"))
        assert code == 0, errors
        return output

    def submitted(self):
        """The numbers of all jobs that SLURM took, in order."""
        lines = ask(
            *("squeue", "--noheader", "--array", "--states=all", "--format=%i %j")
        ).splitlines()
        keys = {path.parent.name for path in self.folder.glob("outputs/.slurm/*/*.sh")}
        return [line.split()[0] for line in lines if line.rpartition("-")[2] in keys]

    def wait_until_it_waits(self, sweep):
        """Wait until the run waits for a signal; the pids of it and its parent."""
        wait_for(self.marker.exists, "the run waits for a signal", sweep)
        return [int(word) for word in self.marker.read_text().split()]

    def result(self, outputs="outputs"):
        """What the only run of a folder has stored, without times and places."""
        (path,) = (self.folder / outputs).glob("*/*/result.json")
        result = json.loads(path.read_text())
        return {key: result[key] for key in ("status", "metrics", "run")}

    def undisturbed(self):
        """The result of the waiting run where nothing happens to it."""
        assert self.marker.exists()
        words = [*self.words[:-1], *self.waiting, "paths.outputs=undisturbed"]
        code, _, errors = ended(self.start(*words))
        assert code == 0, errors
        return self.result("undisturbed")


def ended(process):
    output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output, errors


@pytest.fixture
def sweeps(tmp_path):
    return Sweeps(tmp_path)


def test_a_sweep_ends_with_its_table(sweeps):
    code, output, errors = sweeps.run("seed=0,1", "norm=none,custom")
    assert code == 0, errors
    assert "4 runs: 4 finished" in output
    ledger = (sweeps.folder / "outputs/.slurm/ledger.jsonl").read_text().splitlines()
    jobs = [json.loads(line)["job"] for line in ledger]
    assert sorted(jobs) == sorted(sweeps.submitted())
    code, output, errors = sweeps.run("seed=0,1", "norm=none,custom")
    assert (code, "4 runs: 4 finished" in output) == (0, True)
    assert len(sweeps.submitted()) == 4


def test_a_run_out_of_time_is_queued_again_and_ends_alike(sweeps):
    code, output, errors = sweeps.run(
        *sweeps.waiting,
        "hydra.launcher.timeout_min=2",
        "hydra.launcher.max_num_timeout=20",
    )
    assert code == 0, errors
    assert re.search(r"job \d+ was queued again", errors)
    assert "1 run: 1 finished" in output
    assert sweeps.result() == sweeps.undisturbed()


def test_a_preempted_run_is_queued_again_and_ends_alike(sweeps):
    sweep = sweeps.begin(*sweeps.waiting)
    sweeps.wait_until_it_waits(sweep)
    urgent = ["sbatch", "--partition=urgent", "--nodes=2", "--exclusive"]
    ask(*urgent, "--output=/dev/null", "--wrap=sleep 5")
    code, output, errors = ended(sweep)
    assert code == 0, errors
    assert re.search(r"job \d+ was queued again", errors)
    assert "1 run: 1 finished" in output
    assert sweeps.result() == sweeps.undisturbed()


def test_a_run_of_a_lost_node_moves_to_another(sweeps):
    sweep = sweeps.begin(*sweeps.waiting)
    run, step = sweeps.wait_until_it_waits(sweep)
    (node,) = ask("squeue", "--noheader", "--format=%N").split()
    daemon = int((SLURM_FOLDER / "pid" / f"slurmd-{node}.pid").read_text())
    for pid in (daemon, step, run):
        os.kill(pid, signal.SIGKILL)
    try:
        code, output, errors = ended(sweep)
    finally:
        subprocess.run(["slurmd", "-N", node], check=True, timeout=60)
    assert code == 0, errors
    assert re.search(r"job \d+ was queued again", errors)
    assert "1 run: 1 finished" in output
    assert sweeps.result() == sweeps.undisturbed()


def test_a_job_that_is_cancelled_while_it_waits_ends_the_sweep(sweeps):
    sweep = sweeps.begin("hydra.launcher.additional_parameters={begin: now+1hour}")
    (job,) = wait_for(sweeps.submitted, "the job is submitted", sweep)
    ask("scancel", job)
    code, output, errors = ended(sweep)
    assert code == 1, errors
    assert f"job {job} CANCELLED: somebody cancelled it" in output


def test_a_job_that_is_cancelled_while_it_runs_is_named(sweeps):
    sweep = sweeps.begin(*sweeps.waiting)
    sweeps.wait_until_it_waits(sweep)
    (job,) = sweeps.submitted()
    ask("scancel", job)
    code, output, errors = ended(sweep)
    assert code == 1, errors
    assert f"job {job} CANCELLED: somebody cancelled it" in output
    code, output, errors = sweeps.run(*sweeps.waiting)
    assert code == 0, errors
    assert sweeps.result() == sweeps.undisturbed()


def test_a_job_whose_time_is_over_without_a_signal_is_named(sweeps):
    code, output, errors = sweeps.run(
        *sweeps.waiting,
        "hydra.launcher.timeout_min=1",
        "hydra.launcher.signal_delay_s=0",
    )
    assert code == 1, errors
    (job,) = sweeps.submitted()
    assert f"job {job} TIMEOUT: it took longer than 1 minutes" in output


def test_a_partition_that_does_not_exist_is_one_line(sweeps):
    code, output, errors = sweeps.run("hydra.launcher.partition=nope")
    assert (code, output) == (2, "")
    assert errors == (
        "error: SLURM did not take the jobs: Invalid partition name specified\n"
    )
    assert sweeps.submitted() == []
    assert not list(sweeps.folder.glob("outputs/.slurm/*/"))


def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(sweeps):
    later = "hydra.launcher.additional_parameters={begin: now+20}"
    sweep = sweeps.begin("seed=0,1", later)
    jobs = wait_for(sweeps.submitted, "the jobs are submitted", sweep)
    wait_for(
        lambda: (sweeps.folder / "outputs/.slurm/ledger.jsonl").exists(), "the ledger"
    )
    sweep.send_signal(signal.SIGINT)
    code, _, errors = ended(sweep)
    assert code == 130
    number = jobs[0].partition("_")[0]
    assert "stopped by SIGINT; 2 runs are with SLURM" in errors
    assert f"`scancel {number}` cancels them" in errors
    code, output, errors = sweeps.run("seed=0,1", later)
    assert code == 0, errors
    assert "attached to the jobs of 2 runs" in errors
    assert "2 runs: 2 finished" in output
    assert sweeps.submitted() == jobs


def test_the_same_command_after_a_kill_attaches(sweeps):
    sweep = sweeps.begin(*sweeps.waiting)
    sweeps.wait_until_it_waits(sweep)
    sweep.kill()
    ended(sweep)
    jobs = sweeps.submitted()
    sweep = sweeps.begin(*sweeps.waiting)
    # SLURM takes this for the end of the job's time, and the run for a preemption.
    ask("scancel", "--batch", "--signal=USR2", *jobs)
    code, output, errors = ended(sweep)
    assert code == 0, errors
    assert "1 run: 1 finished" in output
    assert sweeps.submitted() == jobs
    assert sweeps.result() == sweeps.undisturbed()


def test_jobs_of_a_command_that_was_killed_by_its_sbatch_are_found(sweeps):
    program = sweeps.folder / "bin" / "sbatch"
    program.parent.mkdir()
    real = shutil.which("sbatch")
    program.write_text(f'#!/bin/sh\n{real} "$@"\nkill -KILL $PPID\nsleep 1\n')
    program.chmod(0o755)
    path = sweeps.environment["PATH"]
    sweeps.environment["PATH"] = f"{program.parent}:{path}"
    code, _, _ = sweeps.run("seed=0,1")
    assert code == -signal.SIGKILL
    assert not (sweeps.folder / "outputs/.slurm/ledger.jsonl").exists()
    jobs = sweeps.submitted()
    assert len(jobs) == 2
    sweeps.environment["PATH"] = path
    code, output, errors = sweeps.run("seed=0,1")
    assert code == 0, errors
    assert "2 runs: 2 finished" in output
    assert sweeps.submitted() == jobs


def test_submit_and_leave_then_look_then_collect(sweeps):
    words = ["seed=0,1", "norm=none"]
    code, output, errors = sweeps.run(*words, "hydra.launcher.wait=false")
    assert (code, output) == (0, ""), errors
    assert "2 runs are with SLURM; `normlab jobs outputs` shows the jobs" in errors
    jobs = sweeps.submitted()
    table = sweeps.jobs()
    assert "2 submitted to SLURM" in table
    for job in jobs:
        assert re.search(rf"none-sgd-lr0.1-seed\d-\w+ +{job} +\w+", table)
    code, dry, errors = sweeps.run(*words, "dry_run=true")
    assert code == 0, errors
    assert all(f" {job} " in dry for job in jobs)
    code, output, errors = sweeps.run(*words)
    assert (code, "2 runs: 2 finished" in output) == (0, True), errors
    assert sweeps.submitted() == jobs
    assert "2 submitted to SLURM: 2 finished" in sweeps.jobs()


def test_two_workers_share_twenty_runs(sweeps):
    code, output, errors = sweeps.run(
        "seed=range(20)", "hydra.launcher.workers=2", "trainer.max_epochs=1"
    )
    assert code == 0, errors
    assert "20 runs: 20 finished" in output
    assert len(sweeps.submitted()) == 2
    machines = set()
    for path in sweeps.folder.glob("outputs/*/*/environment.json"):
        machines.add(json.loads(path.read_text())["device"]["threads"])
    assert machines == {1}
