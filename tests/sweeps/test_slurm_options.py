"""The options of the launcher for SLURM, and what sbatch is asked for them."""

import pytest

from normlab.sweeps.slurm_ledger import Submission
from normlab.sweeps.slurm_options import read_options


def submission(runs, workers=0):
    """A submission of so many runs."""
    return Submission(
        key="0123456789ab",
        cluster="c",
        job_name="n-0123456789ab",
        time="2026-01-01T00:00:00",
        workers=workers,
        timeout_min=7,
        signal_delay_s=45,
        max_num_timeout=3,
        runs=[f"g/{number}" for number in range(runs)],
        offsets=[0] * runs,
        path=[],
    )


def test_options_become_arguments_of_sbatch(tmp_path):
    given = {
        "partition": "p",
        "qos": None,
        "mem_gb": 1.5,
        "cpus_per_task": 2,
        "gpus_per_node": 1,
        "timeout_min": 7,
        "signal_delay_s": 45,
        "array_parallelism": 2,
        "additional_parameters": {
            "mail-user": "me",
            "nice": 0,
            "exclusive": True,
            "requeue": False,
        },
    }
    folder = tmp_path / "0123456789ab"
    arguments = read_options(tmp_path, given).sbatch_arguments(submission(3))
    assert arguments == [
        "--job-name=n-0123456789ab",
        "--time=7",
        "--open-mode=append",
        f"--output={folder}/%A_%a.out",
        "--signal=B:USR2@45",
        f"--error={folder}/%A_%a.err",
        "--array=0-2%2",
        "--partition=p",
        "--mem=1536M",
        "--cpus-per-task=2",
        "--gpus-per-node=1",
        "--mail-user=me",
        "--nice=0",
        "--exclusive",
        f"{folder}/script.sh",
    ]


@pytest.mark.parametrize(("runs", "workers"), [(1, 0), (9, 1)])
def test_one_task_is_no_array(tmp_path, runs, workers):
    options = read_options(tmp_path / "50%", {"stderr_to_stdout": True})
    arguments = options.sbatch_arguments(submission(runs, workers))
    assert "--requeue" in arguments
    assert f"--output={tmp_path}/50%%/0123456789ab/%j.out" in arguments
    assert not [word for word in arguments if word.startswith(("--array", "--error"))]


def test_no_signal_is_asked_for_without_a_delay(tmp_path):
    options = read_options(tmp_path, {"signal_delay_s": 0})
    words = options.sbatch_arguments(submission(1))
    assert not [word for word in words if word.startswith("--signal")]


def test_workers_are_the_tasks_of_an_array(tmp_path):
    arguments = read_options(tmp_path, {}).sbatch_arguments(submission(9, workers=4))
    assert "--array=0-3%256" in arguments


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("workers", 0, "workers must be a whole number of at least 1, got 0"),
        ("workers", "auto", "workers must be a whole number"),
        ("timeout_min", 0.5, "timeout_min must be a whole number of at least 1"),
        ("max_num_timeout", -1, "max_num_timeout must be .* at least 0, got -1"),
        ("array_parallelism", 0, "array_parallelism must be .* at least 1"),
        ("name", "my job", "name must consist of letters, digits .*, got 'my job'"),
    ],
)
def test_options_that_no_job_can_have_are_refused(tmp_path, option, value, message):
    with pytest.raises(ValueError, match=f"hydra.launcher.{message}"):
        read_options(tmp_path, {option: value})
