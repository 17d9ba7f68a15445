"""The cores that SLURM gives to a process."""

import pytest

from normlab.cores import slurm_cores
from normlab.device import devices
from normlab.sweeps import queue


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, None),
        ({"SLURM_CPUS_PER_TASK": "3"}, None),
        ({"SLURM_JOB_ID": "7"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "4"}, 4),
        (
            {
                "SLURM_JOB_ID": "7",
                "SLURM_CPUS_PER_TASK": "3",
                "SLURM_CPUS_ON_NODE": "6",
            },
            3,
        ),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "0"}, None),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "many"}, None),
    ],
)
def test_the_cores_of_a_job(environment, cores):
    assert slurm_cores(environment) == cores


def test_a_job_of_one_core_uses_one(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert queue.count_cores() == 1
    assert devices._usable_cores() == 1
