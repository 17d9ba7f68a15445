"""Jobs of a sweep in worker processes of this machine: `hydra/launcher=queue`."""

import os
from collections.abc import Iterator
from typing import Any

from normlab.sweeps.launchers import OutcomesLauncher


class QueueLauncher(OutcomesLauncher):
    """Composes here, trains there: a worker takes a plain configuration and returns a plain result.

    Args:
        workers: how many, or `auto`: one a core, or `jobs_per_gpu` for every GPU.
        jobs_per_gpu: jobs side by side on one GPU.
        jobs_per_worker: a worker is replaced after so many jobs; None keeps it.
    """

    def __init__(
        self,
        workers: int | str = "auto",
        jobs_per_gpu: int = 1,
        jobs_per_worker: int | None = None,
    ) -> None:
        self.options = {
            "workers": workers,
            "jobs_per_gpu": jobs_per_gpu,
            "jobs_per_worker": jobs_per_worker,
        }

    def setup(self, **hydra: Any) -> None:
        """Hydra's hook.

        Raises:
            ValueError: an option that makes no sense.
        """
        from normlab.sweeps.queue import check_options

        check_options(**self.options)
        super().setup(**hydra)

    def warm_up(self) -> None:
        """Begin to import in the process whose forks are the workers; calls after the first do nothing."""
        from normlab.sweeps.queue import PRELOAD
        from normlab.sweeps.workers import start_server

        start_server(PRELOAD)

    def outcomes(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result of every configuration, in the order in which they end.

        Raises:
            normlab.endings.Stopped: by a signal, or since going on makes no sense.
        """
        from normlab.sweeps.queue import run_queued

        return run_queued(configs, **self.options)

    def count_workers(self, configs: list[dict]) -> int:
        """How many workers these configurations would get."""
        from normlab.sweeps.queue import slots

        options: dict[str, Any] = {
            key: self.options[key] for key in ("workers", "jobs_per_gpu")
        }
        return len(slots(configs, os.environ, **options))
