"""Jobs of a sweep as tasks of Ray, on this machine or on a cluster: `hydra/launcher=ray`."""

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf

from normlab.sweeps.launchers import ClusterLauncher


class RayLauncher(ClusterLauncher):
    """A thin one over Ray's core.

    Args:
        init: options of `ray.init`.
        remote: options of a task.
    """

    def __init__(self, init: Any, remote: Any) -> None:
        self.init, self.remote = (
            OmegaConf.to_container(init, resolve=True),
            OmegaConf.to_container(remote, resolve=True),
        )

    def setup(self, **hydra: Any) -> None:
        """Hydra's hook.

        Raises:
            ValueError: Ray is not installed.
        """
        from normlab.sweeps.clusters import need

        need("ray", "ray", "ray")
        super().setup(**hydra)

    def train(self, configs: list[dict]) -> Iterator[tuple[int, dict]]:
        """Index and result of every configuration, in the order in which they end.

        Raises:
            ValueError: jobs that ask for GPUs and tasks that have none.
        """
        from normlab.sweeps.clusters import run_with_ray

        if not self.remote.get("num_gpus") and any(
            config["device"]["accelerator"] == "cuda" for config in configs
        ):
            raise ValueError(
                "hydra.launcher.remote.num_gpus must be at least 1 for device=cuda, got 0"
            )
        return run_with_ray(configs, self.init, self.remote)
