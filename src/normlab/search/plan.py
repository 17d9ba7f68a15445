"""What a search will do, checked before anything is stored."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from normlab.config.identity import run_folder
from normlab.search.definition import define
from normlab.search.options import Options, resolve_metric
from normlab.search.space import Space, probes, split
from normlab.sweeps.jobs import Job

# Overrides to the resolved and checked configuration of a job.
Compose = Callable[[Sequence[str]], dict[str, Any]]
IndexedResult = tuple[int, dict[str, Any]]
# Jobs to the index and the result of each, in the order in which they end.
StreamResults = Callable[[list[Job]], Generator[IndexedResult]]


@dataclass(frozen=True)
class SearchPlan:
    """What a search will do.

    Attributes:
        options: the options of the sweeper.
        space: what varies between trials.
        fixed: the overrides that all runs share.
        config: the resolved configuration at the first of the `probes` of the space.
        metric: the metric of the objective.
        direction: `maximize` or `minimize`.
    """

    options: Options
    space: Space
    fixed: list[str]
    config: dict[str, Any]
    metric: str
    direction: str

    @property
    def name(self) -> str:
        """The name of the search.

        It is `hydra.sweeper.study_name`, else `search-NORM-OPTIMIZER` without what
        varies.
        """
        if self.options.study_name is not None:
            return self.options.study_name
        parts = ["search"]
        for group in ("norm", "optimizer"):
            if group not in self.space:
                parts.append(str(self.config["choices"][group]))
        return "-".join(parts)

    @property
    def stored_names(self) -> list[str]:
        """Names that the search may have in its storage; a new one gets the first.

        In a database, where groups of runs meet, the name contains the group. Earlier
        versions left it out.
        """
        is_database = "://" in self.options.storage
        if self.options.study_name is not None or not is_database:
            return [self.name]
        return [f"{self.folder.parent.name}/{self.name}", self.name]

    @property
    def folder(self) -> Path:
        """The folder of the search, beside the folders of its runs."""
        return run_folder(self.config).parent / self.name

    @property
    def definition(self) -> dict[str, Any]:
        """What the values of the search depend on."""
        return define(
            self.space, self.metric, self.direction, self.options.seeds, self.config
        )


def plan_search(
    options: Options,
    overrides: Sequence[Override],
    compose: Compose,
) -> SearchPlan:
    """Check everything that can be checked before the first trial.

    Args:
        options: the options of the sweeper.
        overrides: parsed overrides, first those of `hydra.sweeper.params`, then those
            of the command line.
        compose: turns overrides into a resolved and checked configuration.

    Raises:
        ValueError, HydraException: a mistake of the user.
    """
    space, fixed = split(overrides)
    configs = [compose([*fixed, *point]) for point in probes(space)]
    config = configs[0]
    if config["rerun"]:
        raise ValueError(
            "rerun=true would train interrupted trials from the start: "
            "name another hydra.sweeper.study_name"
        )
    metric, direction = resolve_metric(options, config)
    return SearchPlan(options, space, fixed, config, metric, direction)
