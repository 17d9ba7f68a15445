"""Results of other programs as a table of runs, which `compare` takes like our own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.result_columns import (
    CLOCK,
    Wanted,
    find_roles,
    find_run_roles,
)
from normlab.compare.result_rows import one_row_per_run, runs_of
from normlab.compare.result_sources import read_sources
from normlab.compare.result_values import Choice


def load_results(
    *paths: str | Path,
    by: str | Sequence[str] = "norm",
    metric: str = "test/accuracy",
    seed: str | None = None,
    fold: str | None = None,
    status: str | None = None,
    better: str | None = None,
    value: str = "last",
    settings: Sequence[str] = (),
    ignore: Sequence[str] = (),
    layout: str | None = None,
) -> pd.DataFrame:
    """Results of other programs as a table with one row per run, as `load_runs` has.

    Read are CSV and parquet files with one row per run or per epoch, exports of W&B and
    MLflow among them, folders `mlruns`, and folders of TensorBoard's event files.
    Nothing in them is executed. Columns that are not named become settings, unless
    their names or values say that they are measured or only describe a run.

    Args:
        paths: files and folders.
        by: the columns whose values are the arms.
        metric: the column or tag that is compared.
        seed: the column that pairs runs of two arms; by default the one called so. If
            there is none, the runs are compared as independent.
        fold: the column with the fold of a cross-validation.
        status: the column that says how a run ended.
        better: `higher` or `lower`, if the name of the metric does not say.
        value: of a metric with several values per run, the `last` or the `best`.
        settings: columns that are settings whatever their values look like.
        ignore: columns that are left out.
        layout: what the folders of TensorBoard runs say, `{optimizer}/seed{seed}`.

    Returns:
        The runs. `attrs["columns"]` has a triple for every column: its name, its role
        and its values; `attrs["names"]` the new names of columns that were renamed;
        `attrs["notes"]` what a reader must know; `attrs["unreadable"]` the runs that
        are left out. A run without a value of the metric has failed, and one whose
        value is not finite has diverged.

    Raises:
        ValueError: a file is not readable, a column is missing or does not fit, or two
            rows are of the same run.
    """
    choice = Choice(metric, value, better)
    results = read_sources(paths, choice, layout)
    wanted = Wanted(
        by=results.resolve_all(name_list(by)),
        metric=results.resolve(metric),
        seed=results.resolve_optional(seed),
        fold=results.resolve_optional(fold),
        status=results.resolve_optional(status),
        settings=results.resolve_all(settings),
        ignore=results.resolve_all(ignore),
    )
    run_roles = find_run_roles(results, wanted)
    choice = replace(choice, metric=wanted.metric)
    if CLOCK in run_roles.values():
        results = one_row_per_run(results, run_roles, choice)
    roles = find_roles(results, run_roles)
    return runs_of(results, roles, choice.higher)
