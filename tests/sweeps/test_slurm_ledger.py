"""What a sweep leaves behind about the jobs that it has submitted."""

import json
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import run_name
from normlab.sweeps.slurm_ledger import (
    Ledger,
    ended_runs,
    read_config,
    read_submission,
    write_submission,
)

OPTIONS = {"timeout_min": 5, "signal_delay_s": 30, "max_num_timeout": 2}


@pytest.fixture(scope="module")
def base(compose):
    return OmegaConf.to_container(compose(), resolve=True)


@pytest.fixture
def configs(base, tmp_path):
    """Three configurations, one with characters of several bytes."""
    paths = {"outputs": str(tmp_path / "outputs")}
    made = [base | {"seed": seed, "paths": paths} for seed in range(3)]
    made[0] = made[0] | {"trusted_packages": ["ü" * 9]}
    return made


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "outputs" / ".slurm").locked():
        pass
    return Ledger(tmp_path / "outputs" / ".slurm")


def submitted(ledger, configs, workers=0, setup=()):
    named = {run_name(config): config for config in configs}
    return write_submission(
        ledger.folder, named, "c", "name", setup, workers=workers, **OPTIONS
    )


def test_a_submission_comes_back_with_its_configurations(ledger, configs):
    submission = submitted(ledger, configs)
    folder = ledger.folder / submission.key
    assert read_submission(folder) == submission
    assert submission.job_name == f"name-{submission.key}"
    assert submission.runs == [run_name(config) for config in configs]
    for index in (2, 0, 1):
        assert read_config(folder, submission, index) == configs[index]


def test_every_run_has_a_line_with_its_job(ledger, configs):
    submission = submitted(ledger, configs)
    ledger.add(submission, "12")
    lines = ledger.lines.path.read_text().splitlines()
    assert [json.loads(line)["job"] for line in lines] == ["12_0", "12_1", "12_2"]
    entry = Ledger(ledger.folder).entries()[run_name(configs[2])]
    assert (entry.cluster, entry.jobs, entry.index) == ("c", ["12_2"], 2)
    assert entry.time == submission.time


def test_the_last_entry_of_a_run_counts(ledger, configs):
    ledger.add(submitted(ledger, configs), "12")
    ledger.add(submitted(ledger, configs[:1]), "13")
    entries = Ledger(ledger.folder).entries()
    assert [entries[run_name(config)].job for config in configs] == [
        "13",
        "12_1",
        "12_2",
    ]


@pytest.mark.parametrize(
    ("workers", "jobs"), [(1, ["12"]), (2, ["12_0", "12_1"]), (0, ["12_1"])]
)
def test_workers_share_all_runs(ledger, configs, workers, jobs):
    submission = submitted(ledger, configs, workers)
    assert submission.tasks == (workers or 3)
    assert submission.entries("12")[1].jobs == jobs


def test_submissions_without_all_their_lines_are_unconfirmed(ledger, configs):
    first = submitted(ledger, configs)
    second = submitted(ledger, configs)
    third = submitted(ledger, configs)
    ledger.add(first, "12")
    ledger.lines.append(vars(entry) for entry in second.entries("13")[:2])
    unconfirmed = Ledger(ledger.folder).unconfirmed()
    keys = sorted([second.key, third.key])
    assert [submission.key for submission in unconfirmed] == keys
    ledger.remove(third)
    assert [each.key for each in Ledger(ledger.folder).unconfirmed()] == [second.key]


@pytest.mark.parametrize(
    "change",
    [
        {"job": "12; rm -r /"},
        {"job": "--all"},
        {"key": "../../x"},
        {"index": "0"},
        {"workers": True},
        {"run": None},
    ],
)
def test_a_line_that_is_no_entry_is_refused(ledger, configs, change):
    (entry,) = submitted(ledger, configs[:1]).entries("12")
    ledger.lines.append([vars(entry) | change])
    with pytest.raises(ValueError, match=r"ledger\.jsonl is no ledger: "):
        Ledger(ledger.folder).entries()


def test_a_file_that_is_no_submission_is_refused(ledger, configs):
    submission = submitted(ledger, configs)
    path = ledger.folder / submission.key / "submission.json"
    path.write_text('{"key": "x"}')
    with pytest.raises(ValueError, match=r"submission\.json is no submission"):
        read_submission(path.parent)


@pytest.mark.parametrize("key", ["/precious", "../../precious", ".", "", "a", 5])
def test_a_submission_that_names_another_folder_is_refused(ledger, configs, key):
    submission = submitted(ledger, configs)
    path = ledger.folder / submission.key / "submission.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"key": key}))
    with pytest.raises(ValueError, match=r"its key must be 12 .* its folder, got"):
        Ledger(ledger.folder).unconfirmed()


def test_a_folder_that_is_no_key_holds_no_submission(ledger, configs):
    submission = submitted(ledger, configs)
    folder = ledger.folder / "thesis"
    (ledger.folder / submission.key).rename(folder)
    path = folder / "submission.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"key": "thesis"}))
    with pytest.raises(ValueError, match="its key must be 12 hexadecimal digits"):
        Ledger(ledger.folder).unconfirmed()


def test_a_submission_that_is_a_link_is_refused(ledger, configs, tmp_path):
    folder = ledger.folder / submitted(ledger, configs).key
    folder.rename(tmp_path / folder.name)
    folder.symlink_to(tmp_path / folder.name)
    with pytest.raises(ValueError, match=f"{folder} must not be a link"):
        Ledger(ledger.folder).unconfirmed()


def test_a_lock_that_is_a_link_empties_nothing(ledger, tmp_path):
    target = tmp_path / "precious"
    target.write_text("1")
    path = ledger.folder / ".sbatch.lock"
    path.unlink()
    path.symlink_to(target)
    match = "lock must be a regular file"
    with pytest.raises(ValueError, match=match), ledger.locked():
        pass
    assert target.read_text() == "1"


def test_the_script_runs_the_setup_and_then_python(ledger, configs, tmp_path):
    ledger.folder.rename(tmp_path / "it's $here")
    ledger = Ledger(tmp_path / "it's $here")
    submission = submitted(ledger, configs, setup=["export SET_UP=yes", "false"])
    script = ledger.folder / submission.key / "script.sh"
    # A Python that shows what it was given, instead of doing the work.
    (tmp_path / "python").write_text('#!/bin/sh\necho "$SET_UP" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    text = script.read_text().replace(sys.executable, str(tmp_path / "python"))
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    folder = f"{ledger.folder}/{submission.key}"
    assert done.stdout == f"yes -P -m normlab.sweeps.slurm_task {folder}\n"


def test_signals_that_come_before_python_are_ignored(ledger, configs):
    submission = submitted(ledger, configs)
    lines = (ledger.folder / submission.key / "script.sh").read_text().splitlines()
    lines[-1] = "kill -USR2 $$; echo alive"
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True)
    assert done.stdout == b"alive\n"


def test_a_command_of_another_process_is_waited_for(ledger):
    with ledger.locked() as descriptor:
        program = "import os, sys; os.fstat(int(sys.argv[1]))"
        command = [sys.executable, "-c", program, str(descriptor)]
        done = subprocess.run(command, pass_fds=(descriptor,))
    assert done.returncode == 0
    # Whoever has inherited the descriptor holds the lock, as a killed command's sbatch.
    with ledger.locked() as descriptor:
        kept = os.dup(descriptor)
    program = (
        "import sys; from pathlib import Path; "
        "from normlab.sweeps.slurm_ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])).locked(): print('locked', flush=True)"
    )
    command = [sys.executable, "-c", program, str(ledger.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        os.close(kept)
        assert process.stdout.read() == b"locked\n"


def test_ends_are_told_from_other_lines_of_a_journal():
    lines = [
        {"event": "cleared", "index": 1},
        {"event": "ended", "index": 1, "status": "finished"},
        {"event": "timeout", "task": 0},
    ]
    assert ended_runs(lines) == {1: lines[1]}
