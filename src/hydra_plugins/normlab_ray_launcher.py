"""Jobs of a sweep as tasks of Ray: `hydra/launcher=ray`."""

from collections.abc import Generator
from typing import Any

from omegaconf import OmegaConf

from normlab.sweeps.launchers import ClusterLauncher


class RayLauncher(ClusterLauncher):
    """Trains the jobs of a sweep as tasks of Ray, on this machine or on a cluster.

    Args:
        init: options of `ray.init`.
        remote: options of a task.
    """

    def __init__(self, init: Any, remote: Any) -> None:
        self.init = OmegaConf.to_container(init, resolve=True)
        self.remote = OmegaConf.to_container(remote, resolve=True)

    def setup(self, **hydra: Any) -> None:
        """Check the options and that Ray is installed; keep what composes jobs.

        Raises:
            ValueError: names an option that is none, or says how to install Ray.
        """
        from normlab.sweeps.clusters import require_package
        from normlab.sweeps.ray_tasks import check_options

        check_options(self.init, self.remote)
        require_package("ray", launcher="ray")
        super().setup(**hydra)

    def train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Train configurations and yield the index and the result of each.

        Args:
            configs: checked configurations, none of which has a stored result.

        Raises:
            ValueError: jobs ask for GPUs, but the tasks of Ray get none.
        """
        from normlab.sweeps.ray_tasks import run_with_ray

        accelerators = {config["device"]["accelerator"] for config in configs}
        if "cuda" in accelerators and not self.remote.get("num_gpus"):
            raise ValueError(
                "hydra.launcher.remote.num_gpus must be at least 1 for device=cuda, "
                "got 0"
            )
        return run_with_ray(configs, self.init, self.remote)
