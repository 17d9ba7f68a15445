"""The spread of a pilot: a few runs of the arms that are to be compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.compare.comparison import compare
from normlab.compare.runs import load_runs
from normlab.planning.experiments import Spread

FEWEST = 3  # runs per arm of a pilot


@dataclass(frozen=True)
class Pilot:
    """What a pilot says about the comparison that is planned.

    Attributes:
        names: the contrast that spreads most, such as `custom against none`.
        spread: of its arms.
        n: number of pairs, of folds, or of runs of the smaller arm behind it.
        design: `paired`, `independent` or `folds`.
        contrasts: number of contrasts of the comparison.
        margin: in its group, as a number; None if none was given.
    """

    names: str
    spread: Spread
    n: int
    design: str
    contrasts: int
    margin: float | None


def read_pilot(folders: Sequence[Path], arguments: dict[str, Any]) -> Pilot:
    """The contrast of a pilot that spreads most; the others need fewer seeds.

    Args:
        folders: with the runs, at any depth.
        arguments: of `compare` by name, other than the runs.

    Raises:
        ValueError: the runs cannot be compared, or are too few.
    """
    comparison = compare(load_runs(*folders), **arguments)
    rows = comparison.contrasts.to_dict("records")
    usable = [row for row in rows if min(row["n"], row["n_baseline"]) >= FEWEST]
    if not usable:
        raise ValueError(
            f"a pilot must have at least {FEWEST} finished runs of each of two arms, "
            "with the same seeds, to measure their spread; or give the spread by --sd"
        )
    widest = max(usable, key=_spread_of_difference)
    where = f" at {widest['where']}" if widest["where"] else ""
    margin = comparison.margins.get(widest["where"])
    return Pilot(
        names=f"{widest['arm']} against {widest['baseline']}{where}",
        spread=_spread(widest),
        n=min(widest["n"], widest["n_baseline"]),
        design=widest["design"],
        contrasts=len(rows),
        margin=margin,
    )


def _spread(row: dict) -> Spread:
    correlation = row["correlation"]
    if math.isnan(correlation):
        correlation = 0.0
    return Spread(row["sd"], row["sd_baseline"], correlation)


def _spread_of_difference(row: dict) -> float:
    return _spread(row).of_differences
