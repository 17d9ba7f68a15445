"""A search with Optuna that is stored, resumed by the same command, and shared by any number of processes."""

import sys
from importlib.util import find_spec
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from hydra_plugins.normlab_grid_sweeper import GridSweeper


class OptunaSweeper(GridSweeper):
    """`hydra/sweeper=optuna`: conf/hydra/sweeper/optuna.yaml holds and explains the options.

    Args:
        params: axes and fixed settings that need not stand on the command line.
        options: of `normlab.search.options.Options`.

    Raises:
        SystemExit: 1 if a trial failed.
        normlab.endings.Stopped: a signal or a full disk stopped the search.
    """

    def __init__(self, params: Any = None, **options: Any) -> None:
        super().__init__(params=params)
        self.options = {
            key: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for key, value in options.items()
        }

    def sweep(self, arguments: list[str]) -> None:
        """Search, or with `dry_run=true` say what would be searched."""
        if find_spec("optuna") is None:
            raise ValueError(
                "hydra/sweeper=optuna needs the package optuna, which is not installed: pip install 'normlab[search]'"
            )
        from normlab.search import driver
        from normlab.search.options import Options

        loader = self.hydra_context.config_loader
        axes = [f"{key}={value}" for key, value in (self.params or {}).items()]
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(
            [*axes, *arguments]
        )
        plan = driver.plan_search(Options(**self.options), overrides, self._composed)
        count = getattr(self.launcher, "count_workers", lambda configs: 1)
        workers = count([plan.config] * plan.options.n_trials)
        if plan.config["dry_run"]:
            driver.print_search(plan, workers)
        elif not self._run(plan, workers):
            sys.exit(1)

    def _run(self, plan: Any, workers: int) -> bool:
        from normlab.endings import Stopped, disk_is_full
        from normlab.search.driver import run_search

        if hasattr(self.launcher, "warm_up"):
            self.launcher.warm_up()
        sources = self.config.hydra.runtime.config_sources
        config_dir = [
            word
            for one in sources
            if one.provider == "command-line"
            for word in ("--config-dir", one.path)
        ]
        try:
            return run_search(plan, self._composed, self._outcomes, workers, config_dir)
        except OSError as error:
            if disk_is_full(error):
                raise Stopped(
                    f"no space is left on the disk of {plan.folder}: make room", 1
                ) from error
            raise

    def _composed(self, overrides: list[str]) -> dict:
        from normlab.sweeps.composer import composed

        return composed(self.hydra_context.config_loader, self.config, overrides)
