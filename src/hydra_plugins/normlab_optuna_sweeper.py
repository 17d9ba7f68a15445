"""The search with Optuna: `hydra/sweeper=optuna`.

A search is stored, the same command resumes it, and any number of processes share it.
"""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra_plugins.normlab_grid_sweeper import GridSweeper, plain

if TYPE_CHECKING:
    from normlab.search.plan import Compose, SearchPlan


class OptunaSweeper(GridSweeper):
    """Searches for the best settings; conf/hydra/sweeper/optuna.yaml has the options.

    Args:
        params: values by key, for keys that are not given on the command line.
        options: the options of `normlab.search.options.Options`.

    Raises:
        SystemExit: 1 if a trial failed.
        normlab.endings.Stopped: a signal or a full disk stopped the search.
    """

    def __init__(self, params: Any = None, **options: Any) -> None:
        super().__init__(params=params)
        self.options = {}
        for key, value in options.items():
            self.options[key] = plain(value)

    def sweep(self, arguments: list[str]) -> None:
        """Search, or show with `dry_run=true` what would be searched.

        Args:
            arguments: the overrides of the command line.
        """
        if find_spec("optuna") is None:
            raise ValueError(
                "hydra/sweeper=optuna needs the package optuna, which is not "
                "installed: pip install optuna"
            )
        from normlab.search.driver import print_search
        from normlab.search.options import Options
        from normlab.search.plan import plan_search
        from normlab.sweeps.composer import Composer

        if self._is_trial():
            raise ValueError("study.try=true needs hydra/sweeper=grid")
        overrides = self._parse(arguments)
        options = Options(**self.options)
        compose = Composer(self.hydra_context.config_loader, self.config)
        plan = plan_search(options, overrides, compose)
        workers = self._count_workers([plan.config] * options.n_trials)
        if plan.config["dry_run"]:
            print_search(plan, options.n_jobs or workers)
        elif not self._search(plan, compose, workers):
            sys.exit(1)

    def _search(self, plan: "SearchPlan", compose: "Compose", workers: int) -> bool:
        """Run a search; returns whether no trial failed."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        from normlab.endings import Stopped, disk_is_full
        from normlab.messages import with_class
        from normlab.search.driver import run_search

        self._warm_up(plan.config)
        config_dir = self._config_dir()
        try:
            return run_search(plan, compose, self._stream_results, workers, config_dir)
        except OSError as error:
            if disk_is_full(error):
                why = f"no space is left on the disk of {plan.folder}: make room"
                raise Stopped(why, 1) from error
            raise
        except (OptunaError, SQLAlchemyError) as error:
            why = f"the storage of the search cannot be used: {with_class(error)}"
            raise Stopped(why, 1) from error

    def _config_dir(self) -> list[str]:
        """The words with which the command line named folders of configurations."""
        from normlab.config.hydra_node import typed_words

        words = []
        for source in self.config.hydra.runtime.config_sources:
            if source.provider == "command-line":  # what Hydra calls `--config-dir`
                words += ["--config-dir", source.path]
        for word in typed_words(self.config):
            if word.lstrip("+").startswith("hydra.searchpath="):
                words.append(word)
        return words
