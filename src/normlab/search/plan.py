"""What a search will do, checked before anything is stored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from normlab.config.identity import run_folder
from normlab.search.options import Options, resolve_metric
from normlab.search.space import Space, probes, split
from normlab.search.storage import (
    define,
)
from normlab.sweeps.jobs import Plan

Compose = Callable[[Sequence[str]], dict]


Outcomes = Callable[[list[Plan]], Iterator[tuple[int, dict]]]


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, before anything is stored.

    Attributes:
        options: of the sweeper.
        space: what varies.
        fixed: overrides that every run has.
        config: resolved, at the first of `normlab.search.space.probes`.
        metric, direction: of the objective.
    """

    options: Options
    space: Space
    fixed: list[str]
    config: dict
    metric: str
    direction: str

    @property
    def folder(self) -> Path:
        """Of the study, in the folder of its group."""
        return run_folder(self.config).parent / self.name

    @property
    def name(self) -> str:
        """`hydra.sweeper.study_name`, or `search-<norm>-<optimizer>` without what varies."""
        picked = [
            self.config["choices"][group]
            for group in ("norm", "optimizer")
            if group not in self.space
        ]
        return self.options.study_name or "-".join(["search", *map(str, picked)])

    @property
    def definition(self) -> dict[str, Any]:
        """See `normlab.search.storage.define`."""
        return define(
            self.space, self.metric, self.direction, self.options.seeds, self.config
        )


def plan_search(
    options: Options, overrides: Sequence[Override], compose: Compose
) -> SearchPlan:
    """Check everything that can be checked before a trial begins.

    Args:
        options: of the sweeper.
        overrides: parsed, first those of `hydra.sweeper.params`, then the command line's.
        compose: overrides -> resolved and checked configuration.

    Raises:
        ValueError, HydraException: the user's mistake.
    """
    space, fixed = split(overrides)
    configs = [compose([*fixed, *point]) for point in probes(space)]
    if configs[0]["rerun"]:
        raise ValueError(
            "rerun=true would train an interrupted trial anew: name another hydra.sweeper.study_name"
        )
    return SearchPlan(
        options, space, fixed, configs[0], *resolve_metric(options, configs[0])
    )
