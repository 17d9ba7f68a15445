"""The sweep over all combinations of values: `hydra/sweeper=grid`.

It continues after a failed job, names every failed job, and ends with a table.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from normlab.messages import with_class

if TYPE_CHECKING:
    from normlab.sweeps.jobs import EndedJob, Job


class GridSweeper(BasicSweeper):
    """Hydra's sweep, with keys that advance together and combinations left out.

    `BasicSweeper` and `BasicLauncher` are private classes of Hydra (hydra-core 1.3.8).

    Args:
        max_batch_size: how many jobs a launcher gets at a time; None is all of them.
        params: values by key, for keys that are not given on the command line.
        zip: groups of keys whose values advance together.
        exclude: partial settings. A combination that has all settings of one of them is
            left out.
        try_seeds: how many seeds of each arm `study.try=true` keeps.
        try_settings: settings that `study.try=true` puts in place of the study's own.

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
        try_seeds: int = 2,
        try_settings: Any = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.zipped = list(plain(zip) or ())
        self.excluded = list(plain(exclude) or ())
        self.try_seeds = try_seeds
        self.try_settings = plain(try_settings) or {}
        if not isinstance(self.try_settings, dict):
            raise ValueError(
                f"hydra.sweeper.try_settings must be keys and values, as in "
                f"{{trainer.max_epochs: 1}}, got {try_settings!r}"
            )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run every combination of the values, or list them with `dry_run=true`.

        Args:
            arguments: the overrides of the command line.

        Returns:
            a list with the list of all jobs, or an empty one if nothing was run.
        """
        from normlab.sweeps.display import print_summary

        jobs, excluded = self._compose_jobs(arguments)
        is_dry_run = any(job.config["dry_run"] for job in jobs)
        if is_dry_run:
            self._show(jobs, excluded)
            return []
        ended = self._run(jobs)
        print_summary(ended)
        has_failure = any(job.result["status"] == "failed" for job in ended)
        if has_failure:
            sys.exit(1)
        return [ended]

    def _show(self, jobs: Sequence["Job"], excluded: int) -> None:
        """List jobs with their states, and run none."""
        from normlab.sweeps.display import print_jobs

        to_train = []
        for job in jobs:
            if job.stored_result is None:
                to_train.append(job.config)
        workers = self._count_workers(to_train)
        print_jobs(jobs, workers, excluded)
        if hasattr(self.launcher, "print_states"):
            self.launcher.print_states(jobs)

    def train(self, arguments: list[str]) -> list["EndedJob"]:
        """Run every combination of the values and print nothing but the progress.

        Args:
            arguments: overrides, as on a command line.

        Returns:
            the jobs that have ended, in the order of the combinations.

        Raises:
            ValueError: a job asks for a dry run.
        """
        from normlab.sweeps.jobs import refuse_dry_run

        jobs, _ = self._compose_jobs(arguments)
        for job in jobs:
            refuse_dry_run(job.config)
        return self._run(jobs)

    def _parse(self, arguments: list[str]) -> list[Override]:
        """Parse the overrides of `params` and of the command line, in this order."""
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        words = _words(self.params or {})
        if not self._is_trial():
            return parser.parse_overrides([*words, *arguments])
        from normlab.sweeps.grid import with_first_values

        planned = parser.parse_overrides(words)
        axes = with_first_values(planned, "seed", self.try_seeds)
        settings = _words(self.try_settings)
        # The group stands last: no word of the command lets a trial join the study.
        config = OmegaConf.to_container(self.config, resolve=False)
        group = f"group={config['group']}-try"
        others = parser.parse_overrides([*settings, *arguments, group])
        return [*axes, *others]

    def _is_trial(self) -> bool:
        """Whether a study is only tried."""
        return OmegaConf.select(self.config, "study.try") is True

    def _compose_jobs(self, arguments: list[str]) -> tuple[list["Job"], int]:
        """Compose and check all jobs before the first one runs.

        Returns:
            the jobs, and how many combinations were left out.
        """
        from normlab.sweeps.composer import Composer
        from normlab.sweeps.display import print_repeated
        from normlab.sweeps.grid import combinations
        from normlab.sweeps.jobs import Job

        overrides = self._parse(arguments)
        found, excluded = combinations(overrides, self.zipped, self.excluded)
        compose = Composer(self.hydra_context.config_loader, self.config)
        jobs: list[Job] = []
        first_with: dict[Path, Job] = {}
        repeated: list[Job] = []
        for words in found:
            config = compose(words)
            job = Job(tuple(words), config)
            if first_with.setdefault(job.folder, job) is not job:
                repeated.append(job)
                continue
            jobs.append(job)
            # As soon as one job has to train, the workers may start to import while the
            # other jobs are composed.
            if not job.config["dry_run"] and job.stored_result is None:
                self._warm_up(job.config)
        print_repeated(repeated, _varied(overrides), len(found))
        return jobs, excluded

    def _run(self, jobs: Sequence["Job"]) -> list["EndedJob"]:
        """Run jobs and show the progress; returns those that have ended, in order."""
        from normlab.sweeps.jobs import EndedJob, varied_keys
        from normlab.sweeps.progress import SweepProgress

        stored = [job.stored_result is not None for job in jobs]
        keys = varied_keys(jobs)
        count_running = self._count_running()
        progress = SweepProgress(keys, len(jobs), sum(stored), count_running)
        ended: list[EndedJob | None] = [None] * len(jobs)
        # Without `closing`, workers would run on after a signal until Python happens to
        # delete the generator.
        with progress, closing(self._stream_results(jobs)) as stream:
            for index, result in stream:
                job = jobs[index]
                ended_job = EndedJob(job.overrides, result, job.folder)
                ended[index] = ended_job
                progress.end(ended_job, stored[index])
        return list(filter(None, ended))

    def _warm_up(self, config: dict[str, Any]) -> None:
        """Let the launcher prepare its workers for a configuration, if it can."""
        if hasattr(self.launcher, "warm_up"):
            self.launcher.warm_up(config)

    def _count_workers(self, configs: list[dict[str, Any]]) -> int:
        """How many jobs the launcher would run at the same time."""
        if hasattr(self.launcher, "count_workers"):
            return self.launcher.count_workers(configs)
        return 1

    def _count_running(self) -> Callable[[], int] | None:
        """What counts the jobs that train, if the launcher's jobs wait in a queue."""
        return getattr(self.launcher, "count_running", None)

    def _stream_results(
        self, jobs: Sequence["Job"]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Run jobs and yield the index and the result of each.

        A launcher without `stream_results` returns when all the jobs that it was given
        have ended. It gets them in batches, and those with a stored result not at all.
        """
        if hasattr(self.launcher, "stream_results"):
            configs = [job.config for job in jobs]
            yield from self.launcher.stream_results(configs)
            return
        to_launch = []
        for index, job in enumerate(jobs):
            stored = job.stored_result
            if stored is None:
                to_launch.append((index, job))
            else:
                yield index, stored

        size = self.max_batch_size or len(jobs)
        if isinstance(self.launcher, BasicLauncher):
            size = 1  # it runs them one after the other: each is shown when it ends
        for first in range(0, len(to_launch), size):
            batch = to_launch[first : first + size]
            yield from self._launch(batch)

    def _launch(
        self, batch: list[tuple[int, "Job"]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Let the launcher run jobs all together, and yield the result of each.

        Args:
            batch: the jobs, each with its index in the sweep.
        """
        from normlab.sweeps.jobs import failed_result

        first, _ = batch[0]
        overrides = [list(job.overrides) for _, job in batch]
        try:
            returned = self.launcher.launch(overrides, initial_job_idx=first)
        except Exception as error:
            # A cluster has lost a job. The results of the others are in their folders.
            launcher = type(self.launcher).__name__
            lost = failed_result(f"{launcher}: {with_class(error)}")
            for index, job in batch:
                yield index, job.stored_result or lost
            return
        for (index, _), job_return in zip(batch, returned, strict=True):
            yield index, _result(job_return)


def _varied(overrides: Sequence[Override]) -> list[str]:
    """The keys of overrides that have several values."""
    keys = []
    for override in overrides:
        if override.is_sweep_override():
            keys.append(override.get_key_element())
    return keys


def _words(values: Mapping[str, Any]) -> list[str]:
    """The overrides that give keys their values: `key=value`."""
    words = []
    for key, value in values.items():
        words.append(f"{key}={value}")
    return words


def plain(option: Any) -> Any:
    """An option without OmegaConf's types."""
    if OmegaConf.is_config(option):
        return OmegaConf.to_container(option, resolve=True)
    return option


def _result(job: JobReturn) -> dict[str, Any]:
    """The result of a job that Hydra's launcher interface returned.

    Raises:
        normlab.endings.Stopped: a signal or a full disk ended the job.
    """
    from normlab.endings import EarlyEnd, Stopped
    from normlab.mistakes import reason
    from normlab.sweeps.jobs import failed_result

    value = _returned_or_raised(job)
    if job.status == JobStatus.COMPLETED:
        return value
    if isinstance(value, EarlyEnd):
        raise Stopped(str(value), value.exit_code)
    return failed_result(reason(value))


def _returned_or_raised(job: JobReturn) -> Any:
    """What a job returned, or the exception that it raised.

    The attribute is private (hydra-core 1.3.8). The public property would print a line
    of its own about a failed job and raise its exception.
    """
    return job._return_value
