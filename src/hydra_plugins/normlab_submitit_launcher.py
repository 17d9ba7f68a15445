"""Jobs of a sweep through submitit: `hydra/launcher=submitit_slurm`.

With `hydra/launcher=submitit_local` the same can be tried without SLURM.
"""

from collections.abc import Generator
from typing import Any

from omegaconf import OmegaConf

from normlab.sweeps.launchers import ClusterLauncher


class SubmititLauncher(ClusterLauncher):
    """Trains the jobs of a sweep as jobs of SLURM, or as processes of this machine.

    It takes the options of hydra-submitit-launcher. A sweep of that launcher ends with
    the first job that is lost; one of this launcher goes on.

    Args:
        cluster: `slurm` or `local`.
        submitit_folder: the folder of submitit's files.
        max_num_timeout: how often a job is queued again when its time is over.
        parameters: parameters of a job.
    """

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        max_num_timeout: int,
        **parameters: Any,
    ) -> None:
        self.cluster = cluster
        self.folder = submitit_folder
        self.max_num_timeout = max_num_timeout
        self.parameters = {}
        for name, value in parameters.items():
            if OmegaConf.is_config(value):
                value = OmegaConf.to_container(value, resolve=True)
            self.parameters[name] = value

    def setup(self, **hydra: Any) -> None:
        """Check that submitit is installed and keep what is needed to compose jobs.

        Raises:
            ValueError: says how to install submitit.
        """
        from normlab.sweeps.clusters import require_package

        launcher = f"submitit_{self.cluster}"
        require_package("submitit", launcher=launcher, extra="slurm")
        super().setup(**hydra)

    def train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Train configurations and yield the index and the result of each.

        Args:
            configs: checked configurations, none of which has a stored result.

        Raises:
            ValueError: SLURM is not installed.
            normlab.endings.Stopped: a signal came.
        """
        from normlab.sweeps.clusters import run_with_submitit

        return run_with_submitit(
            configs, self.cluster, self.folder, self.max_num_timeout, self.parameters
        )
