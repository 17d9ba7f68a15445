"""Jobs of a sweep in worker processes of this machine: `hydra/launcher=queue`."""

import os
from collections.abc import Generator
from typing import Any

from normlab.sweeps.launchers import StreamingLauncher


class QueueLauncher(StreamingLauncher):
    """Trains the jobs of a sweep in worker processes.

    Jobs are composed here. A worker takes a plain configuration and returns a plain
    result.

    Args:
        workers: number of workers, or `auto`: one per core, or `jobs_per_gpu` per GPU.
        jobs_per_gpu: how many jobs share a GPU.
        jobs_per_worker: after how many jobs a worker is replaced; None keeps it.
    """

    def __init__(
        self,
        workers: int | str = "auto",
        jobs_per_gpu: int = 1,
        jobs_per_worker: int | None = None,
    ) -> None:
        self.workers = workers
        self.jobs_per_gpu = jobs_per_gpu
        self.jobs_per_worker = jobs_per_worker

    def setup(self, **hydra: Any) -> None:
        """Check the options and keep what is needed to compose jobs.

        Raises:
            ValueError: names an option that no queue can have.
        """
        from normlab.sweeps.queue import check_options

        check_options(self.workers, self.jobs_per_gpu, self.jobs_per_worker)
        super().setup(**hydra)

    def warm_up(self, config: dict[str, Any]) -> None:
        """Start to import in the process whose forks are the workers.

        This returns at once, and further calls do nothing.

        Args:
            config: the first configuration to train.
        """
        from normlab.sweeps.queue import preload
        from normlab.sweeps.workers import start_server

        start_server(preload(config))

    def stream_results(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Run jobs and yield the index and the result of each when it ends.

        Args:
            configs: the checked configuration of every job.

        Raises:
            normlab.endings.Stopped: a signal came, or no other job could succeed.
        """
        from normlab.sweeps.queue import run_queued

        return run_queued(
            configs, self.workers, self.jobs_per_gpu, self.jobs_per_worker
        )

    def count_workers(self, configs: list[dict[str, Any]]) -> int:
        """How many workers would train these configurations."""
        from normlab.sweeps.queue import slots

        return len(slots(configs, os.environ, self.workers, self.jobs_per_gpu))
