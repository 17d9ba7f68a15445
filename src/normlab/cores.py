"""How many cores of a job of SLURM a process may use."""

from collections.abc import Mapping

# SLURM sets the first one if the job has asked for cores per task. The second one has
# all cores that the job has on this machine.
VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")


def slurm_cores(environment: Mapping[str, str]) -> int | None:
    """The cores that SLURM has given to this process; None outside of its jobs.

    Where SLURM does not bind processes to cores (`TaskPlugin=task/none`), nothing but
    these variables keeps a job of one core from using the whole machine.

    Args:
        environment: the environment variables of the process.
    """
    if "SLURM_JOB_ID" not in environment:
        return None
    for name in VARIABLES:
        value = environment.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return None
