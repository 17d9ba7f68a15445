"""A grid of jobs that goes on after a failure, names every failed job, and ends with a table."""

import sys
import time
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus


class GridSweeper(BasicSweeper):
    """Hydra's grid, its jobs reported as they end.

    Raises:
        SystemExit: 1 if a job failed, the signal's exit code if one stopped the sweep.
    """

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run every combination of the overrides' values."""
        from normlab.sweeps import Job, print_job, print_summary, varied_keys

        jobs = self._jobs(arguments)
        self.validate_batch_is_legal(jobs)
        # One by one where that is how the launcher works anyway, so that each is reported when it ends.
        size = 1 if isinstance(self.launcher, BasicLauncher) else len(jobs)
        done: list[Job] = []
        varied = varied_keys([Job(tuple(job), {}) for job in jobs])
        started = time.monotonic()
        for first in range(0, len(jobs), size):
            for outcome in self.launcher.launch(jobs[first : first + size], initial_job_idx=first):
                self._stop_if_interrupted(outcome)
                done.append(_job(outcome))
                print_job(done[-1], len(done), len(jobs), time.monotonic() - started, varied)
        print_summary(done)
        if any(job.result["status"] == "failed" for job in done):
            sys.exit(1)
        return [done]

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        axes = [f"{key}={values}" for key, values in (self.params or {}).items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        batches = self.split_arguments(parser.parse_overrides([*axes, *arguments]), self.max_batch_size)
        return [job for batch in batches for job in batch]

    @staticmethod
    def _stop_if_interrupted(outcome: JobReturn) -> None:
        if outcome.status == JobStatus.FAILED and hasattr(outcome._return_value, "exit_code"):
            print("stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(outcome._return_value.exit_code)


def _job(outcome: JobReturn) -> Any:
    from normlab.main import explain
    from normlab.sweeps import Job

    if outcome.status == JobStatus.COMPLETED:
        return Job(tuple(outcome.overrides), outcome._return_value)
    error = outcome._return_value
    reason = explain(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return Job(tuple(outcome.overrides), {"status": "failed", "reason": reason, "metrics": {}, "seconds": 0.0})
