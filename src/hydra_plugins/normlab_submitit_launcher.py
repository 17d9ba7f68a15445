"""Jobs of a sweep through submitit: `hydra/launcher=submitit_slurm`, and `submitit_local` to try it."""

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf

from normlab.sweeps.launchers import ClusterLauncher


class SubmititLauncher(ClusterLauncher):
    """Takes the options of hydra-submitit-launcher, whose sweeps end with the first job that is lost.

    Args:
        cluster: `slurm` or `local`.
        submitit_folder: for submitit's files.
        max_num_timeout: how often a job is queued again when its time is over.
        parameters: of a job.
    """

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        max_num_timeout: int,
        **parameters: Any,
    ) -> None:
        self.cluster, self.folder, self.max_num_timeout = (
            cluster,
            submitit_folder,
            max_num_timeout,
        )
        self.parameters = {
            name: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for name, value in parameters.items()
        }

    def setup(self, **hydra: Any) -> None:
        """Hydra's hook.

        Raises:
            ValueError: submitit is not installed.
        """
        from normlab.sweeps.clusters import need

        need("submitit", f"submitit_{self.cluster}", "slurm")
        super().setup(**hydra)

    def train(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result of every configuration, in the order in which they end."""
        from normlab.sweeps.clusters import run_with_submitit

        return run_with_submitit(
            configs, self.cluster, self.folder, self.max_num_timeout, self.parameters
        )
