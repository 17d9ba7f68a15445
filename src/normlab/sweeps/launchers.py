"""What the launchers share that compose here and train elsewhere."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OutcomesLauncher(Launcher):
    """Tells the result of every job when it ends, by `outcomes`; Hydra's own `launch` waits for all of them."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Hydra's hook: what is needed to compose jobs."""
        self.hydra_context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Hydra's contract, for sweepers that wait for all jobs."""
        from normlab.sweeps.composer import Composer

        setup_globals()
        compose = Composer(self.hydra_context.config_loader, self.config)
        with closing(
            self.outcomes([compose(job) for job in job_overrides])
        ) as outcomes:
            results = dict(outcomes)
        return [
            JobReturn(
                overrides=list(job),
                status=JobStatus.COMPLETED,
                _return_value=results[index],
            )
            for index, job in enumerate(job_overrides)
        ]

    @abstractmethod
    def outcomes(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result of every configuration, in the order in which they end.

        Raises:
            normlab.endings.Stopped: by a signal, or since going on makes no sense.
        """


class ClusterLauncher(OutcomesLauncher):
    """Jobs with a stored result go nowhere; the others are trained by `train`."""

    def outcomes(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result of every configuration, in the order in which they end."""
        from normlab.sweeps.queue import stored_first

        return stored_first(configs, self.train)

    @abstractmethod
    def train(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result, or `Stopped`, of every configuration, none of which has a result yet."""
