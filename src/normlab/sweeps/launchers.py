"""Base classes of the launchers that compose jobs here and train them elsewhere."""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from normlab.endings import Stopped


class StreamingLauncher(Launcher):
    """A launcher that yields the result of every job as soon as it ends.

    Hydra's own interface, `launch`, returns when all jobs have ended. Our sweepers call
    `stream_results` instead if a launcher has it.
    """

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Keep what is needed to compose jobs; Hydra calls this first."""
        self.hydra_context = hydra_context
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run all jobs and return when they have ended, for sweepers of others.

        Args:
            job_overrides: the overrides of every job.
            initial_job_idx: the number of the first job; it has no meaning here.
        """
        from normlab.sweeps.composer import Composer

        setup_globals()
        compose = Composer(self.hydra_context.config_loader, self.config)
        configs = [compose(overrides) for overrides in job_overrides]
        with closing(self.stream_results(configs)) as stream:
            results = dict(stream)
        jobs = []
        for index, overrides in enumerate(job_overrides):
            job = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            job.return_value = results[index]
            jobs.append(job)
        return jobs

    @abstractmethod
    def stream_results(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Run jobs and yield the index and the result of each when it ends.

        Args:
            configs: the checked configuration of every job.

        Raises:
            normlab.endings.Stopped: a signal came, or no other job could succeed.
        """


class ClusterLauncher(StreamingLauncher):
    """A launcher that sends the jobs without a stored result to a cluster."""

    def stream_results(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Run jobs and yield the index and the result of each when it ends.

        Args:
            configs: the checked configuration of every job.

        Raises:
            normlab.endings.Stopped: a signal came, or no other job could succeed.
        """
        from normlab.sweeps.queue import stored_first

        return stored_first(configs, self.train)

    @abstractmethod
    def train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any] | Stopped]]:
        """Train configurations and yield the index and the result of each.

        Args:
            configs: checked configurations, none of which has a stored result.

        Yields:
            the index of a configuration, and its result, or `Stopped` if no other job
            could succeed; in the order in which the jobs end.
        """
