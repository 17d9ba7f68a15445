"""Jobs of a sweep that train as one stacked network: `hydra/launcher=stacked`."""

import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from hydra_plugins.normlab_queue_launcher import QueueLauncher

if TYPE_CHECKING:
    from normlab.sweeps.jobs import Job


class StackedLauncher(QueueLauncher):
    """Trains the jobs of a sweep in stacks, in worker processes.

    Args:
        members: number of runs that train together; `auto` is found by measuring.
        workers: number of workers, or `auto`: one per core, or `jobs_per_gpu` per GPU.
        jobs_per_gpu: how many stacks share a GPU.
        jobs_per_worker: after how many stacks a worker is replaced; None keeps it.
        exact: whether runs whose random numbers a stack cannot draw are trained alone.
        compile: whether the steps are compiled, if this makes them faster.
    """

    def __init__(
        self,
        members: int | str = "auto",
        workers: int | str = "auto",
        jobs_per_gpu: int = 1,
        jobs_per_worker: int | None = None,
        exact: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__(workers, jobs_per_gpu, jobs_per_worker)
        self.members = members
        self.exact = exact
        self.compile = compile

    def setup(self, **hydra: Any) -> None:
        """Check the options and keep what is needed to compose jobs.

        Raises:
            ValueError: names an option that it cannot have.
        """
        from normlab.stacked.grouping import check_members, check_switch

        check_members(self.members)
        check_switch("exact", self.exact)
        check_switch("compile", self.compile)
        super().setup(**hydra)

    def warm_up(self, config: dict[str, Any]) -> None:
        """Start to import in the process whose forks are the workers.

        This returns at once, and further calls do nothing.

        Args:
            config: the first configuration to train.
        """
        from normlab.sweeps.queue import preload
        from normlab.sweeps.stacks import PRELOAD
        from normlab.sweeps.workers import start_server

        start_server(preload(config, PRELOAD))

    def stream_results(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Run jobs and yield the index and the result of each when its stack ends.

        Args:
            configs: the checked configuration of every job.

        Raises:
            ValueError: jobs use several processes each.
            normlab.endings.Stopped: a signal came, or no other job could succeed.
        """
        from normlab.stacked.grouping import Options
        from normlab.sweeps.stacks import run_stacked

        options = Options(self.members, self.exact, self.compile)
        return run_stacked(
            configs, self.workers, self.jobs_per_gpu, self.jobs_per_worker, options
        )

    def print_states(self, jobs: Sequence["Job"]) -> None:
        """Print the stacks that the jobs without a result would form."""
        from normlab.sweeps.stacks import plan_for, print_stacks

        to_train = [job for job in jobs if job.stored_result is None]
        if not to_train:
            return
        configs = [job.config for job in to_train]
        found = plan_for(
            configs, os.environ, self.workers, self.jobs_per_gpu, self.members
        )
        print_stacks(to_train, found)
