"""A grid of jobs that goes on after a failure, names every failed job, and ends with a table."""

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf


class GridSweeper(BasicSweeper):
    """Hydra's grid, with axes that advance together and combinations left out, its jobs reported as they end.

    Args:
        max_batch_size: as in Hydra's own sweeper.
        params: axes that need not stand on the command line.
        zip: groups of keys whose values advance together.
        exclude: partial settings; combinations that have all of one are left out.

    Raises:
        SystemExit: 1 if a job failed.
        normlab.endings.Stopped: a signal or a full disk stopped the sweep.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: Any = None,
        zip: Any = (),
        exclude: Any = (),
    ) -> None:
        super().__init__(max_batch_size, params)
        self.together, self.excluded = _plain(zip), _plain(exclude)

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run every combination of the overrides' values, or with `dry_run=true` list them."""
        from normlab.sweeps.display import SweepProgress, print_plans, print_summary
        from normlab.sweeps.jobs import Job, varied_keys

        plans, excluded = self._plans(arguments)
        if any(plan.config["dry_run"] for plan in plans):
            count = getattr(self.launcher, "count_workers", lambda configs: 1)
            print_plans(
                plans,
                count([plan.config for plan in plans if plan.stored is None]),
                excluded,
            )
            return []
        stored = [plan.stored is not None for plan in plans]
        ended: dict[int, Job] = {}
        progress = SweepProgress(varied_keys(plans), len(plans), sum(stored))
        with (
            progress,
            closing(self._outcomes(plans)) as outcomes,
        ):  # closed at once when a signal comes
            for index, result in outcomes:
                ended[index] = Job(plans[index].overrides, result, plans[index].folder)
                progress.end(ended[index], stored[index])
        jobs = [ended[index] for index in sorted(ended)]
        print_summary(jobs)
        if any(job.result["status"] == "failed" for job in jobs):
            sys.exit(1)
        return [jobs]

    def _plans(self, arguments: list[str]) -> tuple[list[Any], int]:
        """All jobs, composed and checked before the first one runs."""
        from normlab.sweeps.composer import Composer
        from normlab.sweeps.grid import combinations
        from normlab.sweeps.jobs import Plan

        axes = [f"{key}={values}" for key, values in (self.params or {}).items()]
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(
            [*axes, *arguments]
        )
        jobs, excluded = combinations(overrides, self.together, self.excluded)
        compose, plans = Composer(loader, self.config), []
        for job in jobs:
            plans.append(Plan(tuple(job), compose(job)))
            if (
                hasattr(self.launcher, "warm_up")
                and not plans[-1].config["dry_run"]
                and plans[-1].stored is None
            ):
                self.launcher.warm_up()
        return plans, excluded

    def _outcomes(self, plans: list[Any]) -> Iterator[tuple[int, dict]]:
        """Index and result of every job, when it ends or, with a launcher that tells nothing before, at the end."""
        if hasattr(self.launcher, "outcomes"):
            yield from self.launcher.outcomes([plan.config for plan in plans])
            return
        to_launch = []
        for index, plan in enumerate(plans):
            if (stored := plan.stored) is not None:
                yield index, stored
            else:
                to_launch.append(index)
        size = (
            1
            if isinstance(self.launcher, BasicLauncher)
            else self.max_batch_size or len(plans)
        )
        for first in range(0, len(to_launch), size):
            batch = to_launch[first : first + size]
            yield from zip(
                batch,
                self._launch([plans[index] for index in batch], batch[0]),
                strict=True,
            )

    def _launch(self, plans: list[Any], first: int) -> list[dict]:
        from normlab.sweeps.jobs import failed_result

        try:
            returned = self.launcher.launch(
                [list(plan.overrides) for plan in plans], initial_job_idx=first
            )
        except Exception as error:  # a cluster that lost one job: the results of the others are in their folders
            lost = failed_result(
                f"{type(self.launcher).__name__}: {type(error).__name__}: {error}".splitlines()[
                    0
                ]
            )
            return [plan.stored or lost for plan in plans]
        return [_result(job) for job in returned]


def _plain(option: Any) -> list[Any]:
    return (
        OmegaConf.to_container(option, resolve=True)
        if OmegaConf.is_config(option)
        else list(option or ())
    )


def _result(job: JobReturn) -> dict:
    from normlab.endings import EarlyEnd, Stopped
    from normlab.mistakes import reason
    from normlab.sweeps.jobs import failed_result

    if job.status == JobStatus.COMPLETED:
        return job._return_value
    error = job._return_value
    if isinstance(error, EarlyEnd):
        raise Stopped(str(error), error.exit_code)
    return failed_result(reason(error))
