"""Jobs of a sweep on SLURM, `hydra/launcher=submitit_slurm`, or through submitit.

The launchers take the options of hydra-submitit-launcher. That of SLURM needs no
submitit. `hydra/launcher=submitit_local` starts processes of this machine.
"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from normlab.sweeps.launchers import ClusterLauncher

if TYPE_CHECKING:
    from normlab.sweeps.jobs import Job
    from normlab.sweeps.slurm_options import SlurmOptions
    from normlab.sweeps.slurm_sweep import SlurmSweep


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters without OmegaConf's types."""
    plain = {}
    for name, value in parameters.items():
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
        plain[name] = value
    return plain


class SlurmLauncher(ClusterLauncher):
    """Trains the jobs of a sweep as jobs of SLURM.

    What was submitted is in a ledger, so that the same command attaches to its jobs
    instead of submitting them again, and nothing is lost when it ends.

    Args:
        folder: of the ledger.
        options: of `normlab.sweeps.slurm_options.SlurmOptions`; the others are
            resources, by the names of hydra-submitit-launcher.
    """

    def __init__(self, folder: str, **options: Any) -> None:
        self.folder = Path(folder)
        self.given = _plain(options)
        self.sweep: SlurmSweep | None = None

    def setup(self, **hydra: Any) -> None:
        """Check the options and keep what is needed to compose jobs.

        Raises:
            ValueError: names an option that no job can have.
        """
        from normlab.sweeps.slurm_options import read_options

        self.options: SlurmOptions = read_options(self.folder, self.given)
        super().setup(**hydra)

    def train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Train configurations and yield the index and the result of each.

        Args:
            configs: checked configurations, none of which has a stored result.

        Raises:
            ValueError: SLURM is not installed, or refuses the jobs.
            normlab.endings.Left: the jobs are submitted, and nothing waits for them.
            normlab.endings.Stopped: a signal came. The jobs stay in SLURM.
        """
        from normlab.sweeps.slurm_sweep import SlurmSweep

        self.sweep = SlurmSweep(configs, self.options)
        return self.sweep.results()

    def count_running(self) -> int:
        """How many jobs train at the moment."""
        if self.sweep is None:
            return 1
        return max(1, self.sweep.running)

    def print_states(self, jobs: Sequence["Job"]) -> None:
        """Print which of the jobs were submitted to SLURM, and their states."""
        from normlab.sweeps.slurm_table import print_table

        configs = [job.config for job in jobs]
        print_table(self.folder, configs)


class SubmititLauncher(ClusterLauncher):
    """Trains the jobs of a sweep as processes of this machine, through submitit.

    A sweep of hydra-submitit-launcher ends with the first job that is lost; one of this
    launcher goes on.

    Args:
        submitit_folder: the folder of submitit's files.
        max_num_timeout: how often a job is started again when its time is over.
        parameters: parameters of a job.
    """

    def __init__(
        self, submitit_folder: str, max_num_timeout: int, **parameters: Any
    ) -> None:
        self.folder = submitit_folder
        self.max_num_timeout = max_num_timeout
        self.parameters = _plain(parameters)

    def setup(self, **hydra: Any) -> None:
        """Check that submitit is installed and keep what is needed to compose jobs.

        Raises:
            ValueError: says how to install submitit.
        """
        from normlab.sweeps.clusters import require_package

        require_package("submitit", launcher="submitit_local")
        super().setup(**hydra)

    def train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        """Train configurations and yield the index and the result of each.

        Args:
            configs: checked configurations, none of which has a stored result.

        Raises:
            normlab.endings.Stopped: a signal came.
        """
        from normlab.sweeps.clusters import run_with_submitit

        return run_with_submitit(
            configs, self.folder, self.max_num_timeout, self.parameters
        )
