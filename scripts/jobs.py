"""The command `jobs` in a checkout: `python scripts/jobs.py outputs`."""

from normlab.sweeps.slurm_table import jobs_main

if __name__ == "__main__":
    jobs_main()
