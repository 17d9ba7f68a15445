"""Data sets that are tables, one function each.

A table has no official test part. One fold of a cross-validation takes its place, and a
cross-validation is a sweep over `fold`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from normlab.data.downloads import check_digest, data_path, digest_of, download_file
from normlab.data.encoding import TabularData
from normlab.data.group_splits import group_fold_indices
from normlab.data.missing_values import MISSING
from normlab.data.notes import note_once
from normlab.data.splits import fold_indices
from normlab.data.target_transforms import check_targets
from normlab.terminal import print_line

# The assignment of rows to folds is part of the data set: every seed of a run has the
# same one.
FOLDS_SEED = 0

JH_SIMPLE = "https://data.heatonresearch.com/data/t81-558/jh-simple-dataset.csv"
JH_SIMPLE_TASKS = {"age": "regression", "product": "classification"}
JH_SIMPLE_CATEGORIES = ("job", "area", "product")
JH_SIMPLE_COLUMNS = (
    *("id", "job", "area", "income", "aspect", "subscriptions", "dist_healthy"),
    *("save_rate", "dist_unhealthy", "age", "pop_dense", "retail_dense", "crime"),
    "product",
)
JH_SIMPLE_ROWS = 2000


def diabetes(fold: int, num_folds: int) -> TabularData:
    """442 patients: ten measurements, and the progress of the disease after a year.

    Efron, Hastie, Johnstone and Tibshirani, "Least angle regression" (2004). The data
    are part of scikit-learn. The measurements are in their own units.

    Args:
        fold: index of the fold that is the test part, from 0.
        num_folds: number of folds.

    Raises:
        ValueError: the fold or the number of folds is out of range.
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False, as_frame=True)
    targets = data.target.to_numpy(np.float64)
    return by_folds(data.data, targets, (), fold, num_folds)


def csv(
    root: str,
    target: str | float,
    fold: int,
    num_folds: int,
    task: str = "regression",
    categorical: Sequence[str | float] | None = None,
    drop: Sequence[str | float] = (),
    missing: Sequence[str | float | None] = MISSING,
    separator: str = ",",
    encoding: str | None = None,
    groups: str | float | None = None,
    test_path: str | None = None,
    target_transform: str | None = None,
) -> TabularData:
    """Any text or parquet file with columns of numbers and categories.

    Args:
        root: path of the file. The first line of a text names the columns. A first
            column without a name, as pandas writes it, is left out.
        target: the column to predict. For a column that is named 3, it may be a number.
        fold: index of the fold that is the test part, from 0. Rows are assigned to
            folds at random, but always in the same way.
        num_folds: number of folds, at least 2.
        task: `regression`, or `classification`, for which every different value of
            `target` is a class. Numbers of one value, such as 1 and 1.0, are one class.
        categorical: columns that hold categories. None takes the columns in which no
            value is a number, and prints which they are. It refuses such a column if it
            looks like numbers with a decimal comma or differs in nearly every row.
        drop: columns to leave out, such as row numbers.
        missing: texts and numbers that stand for a missing value. Numbers stand for all
            cells of their value. In columns of categories, missing is a category of its
            own.
        separator: the character between columns. If the first line does not have it,
            the separator is found by the content.
        encoding: of the text. None finds UTF-8, UTF-16 and Latin-1 by the content.
        groups: a column that is no input; rows with the same value are in the same
            fold, and either train or validate. Numbers of one value, such as 1 and 1.0,
            are one group.
        test_path: path of a file with the same columns, which is the test part. There
            are no folds then.
        target_transform: `log` or `log1p`, for which targets that have no logarithm are
            refused. The task applies it, see `normlab.training.regression`.

    Raises:
        ValueError: names the column, row and value that is wrong.
    """
    from normlab.data.columns import read_text

    text = read_text(root, separator, missing, encoding)
    test_text = None
    if test_path is not None:
        if fold != 0:
            raise ValueError(
                "dataset.fold must be 0 with dataset.test_path, since the file is the "
                f"test part; got {fold!r}"
            )
        test_text = read_text(test_path, separator, missing, encoding)
    return _from_text(
        *(text, root, target, fold, num_folds, task, categorical, drop),
        groups=groups,
        test_text=test_text,
        test_path=test_path,
        target_transform=target_transform,
    )


def _from_text(
    text: Any,
    path: str,
    target: str | float,
    fold: int,
    num_folds: int,
    task: str,
    categorical: Sequence[str | float] | None,
    drop: Sequence[str | float],
    remedy: str | None = None,
    groups: str | float | None = None,
    test_text: Any = None,
    test_path: str | None = None,
    target_transform: str | None = None,
) -> TabularData:
    """Convert the text of a file.

    Args:
        text: from `normlab.data.columns.read_text`.
        path: of the file, for messages.
        target: as in `csv`.
        fold: as in `csv`.
        num_folds: as in `csv`.
        task: as in `csv`.
        categorical: as in `csv`.
        drop: as in `csv`.
        remedy: what an error message advises; None for the options of `csv`.
        groups: as in `csv`.
        test_text: of the file that is the test part, or None.
        test_path: path of that file, for messages.
        target_transform: as in `csv`.
    """
    from normlab.data.columns import (
        choose,
        columns_of,
        joined_text,
        note_categories,
        note_shared_groups,
        take_groups,
    )
    from normlab.data.target_columns import class_targets, number_targets

    choice = choose(text, path, target, categorical, drop)
    num_rows = len(text)
    if test_text is not None:
        text = joined_text(text, path, test_text, test_path, choice)
    row_groups = None
    if groups is not None:
        row_groups, choice = take_groups(text, path, groups, choice)
        note_shared_groups(row_groups[:num_rows], row_groups[num_rows:], test_path)
    if test_text is None:
        _check_enough_rows(len(text), num_folds, path)
    columns = columns_of(text, path, choice, remedy)
    if categorical is None:
        note_categories(columns, path)

    target_text = text[choice.target]
    class_names: tuple[str, ...] = ()
    if task == "classification":
        targets, class_names = class_targets(target_text, path)
        _refuse_transform(target_transform)
    else:
        targets = number_targets(target_text, path, remedy)
        place = f"{path}: target {choice.target}"
        check_targets(targets, target_transform, place, text.index)
    if test_text is None:
        return by_folds(columns, targets, class_names, fold, num_folds, row_groups)
    rows = np.arange(len(text))
    train_rows = rows[:num_rows]
    test_rows = rows[num_rows:]
    return _divided(columns, targets, class_names, train_rows, test_rows, row_groups)


def _refuse_transform(target_transform: str | None) -> None:
    if target_transform is not None:
        raise ValueError(
            "dataset.target_transform must be null for a classification, got "
            f"{target_transform!r}"
        )


def _check_enough_rows(num_rows: int, num_folds: int, path: str) -> None:
    """Refuse more folds than rows. What is no number is refused where it is used."""
    if isinstance(num_folds, int) and num_rows < num_folds:
        rows = "1 row" if num_rows == 1 else f"{num_rows} rows"
        raise ValueError(
            f"{path} has {rows}, dataset.num_folds={num_folds} needs at least as many"
        )


def jh_simple(
    root: str,
    target: str,
    fold: int,
    num_folds: int,
    task: str,
    sha256: str | None = None,
) -> TabularData:
    """2,000 made-up customers: numbers and categories with missing values.

    Heaton, "Applications of deep neural networks" (course T81-558). The columns are
    those of `JH_SIMPLE_COLUMNS`; `id` is left out.

    Args:
        root: path of the file, or of the folder that holds jh-simple-dataset.csv. The
            file is downloaded there if it does not exist.
        target: `age` (regression) or `product` (classification).
        fold: as in `csv`.
        num_folds: as in `csv`.
        task: the task that belongs to `target`.
        sha256: hexadecimal checksum that the file must have; None accepts any file.

    Raises:
        ValueError: the target or task is another one, the download failed, the checksum
            or the columns differ, or as in `csv`.
    """
    if JH_SIMPLE_TASKS.get(target) != task:
        raise ValueError(
            "dataset.target must be age (with dataset.task=regression) or product "
            "(with dataset.task=classification dataset.split=stratified), "
            f"got {target!r} with {task}"
        )
    path = _jh_simple_file(root, sha256)

    from normlab.data.columns import read_text

    text = read_text(str(path), ",", MISSING)
    remedy = f"take the file as published: {JH_SIMPLE}"
    _check_jh_simple(text, str(path), remedy)
    categorical = [name for name in JH_SIMPLE_CATEGORIES if name != target]
    return _from_text(
        text, str(path), target, fold, num_folds, task, categorical, ["id"], remedy
    )


def _jh_simple_file(root: str, sha256: str | None) -> Path:
    """Path of the file, which is downloaded if it is missing, and checked."""
    path = data_path(root, "jh-simple-dataset.csv or of its folder")
    if path.suffix != ".csv":
        path = path / JH_SIMPLE.rpartition("/")[2]
    if not path.exists():
        download_file(JH_SIMPLE, sha256, path)
        if sha256 is None:
            digest = digest_of(path, "sha256")
            print_line(
                f"note: downloaded {path}; to make sure that later runs read the same "
                f"file, set dataset.sha256={digest}"
            )
    if sha256 is not None:
        check_digest(path, "sha256", sha256)
    return path


def _check_jh_simple(text: Any, path: str, remedy: str) -> None:
    """Refuse other columns; another number of rows is worth a note only."""
    lacking = [name for name in JH_SIMPLE_COLUMNS if name not in text]
    others = [name for name in text if name not in JH_SIMPLE_COLUMNS]
    differences = []
    if lacking:
        differences.append(f"lacks {', '.join(lacking)}")
    if others:
        differences.append(f"has {', '.join(others[:5])}")
    if differences:
        raise ValueError(
            f"{path} must have the {len(JH_SIMPLE_COLUMNS)} columns of "
            "jh-simple-dataset.csv and no others, "
            f"it {' and '.join(differences)}; {remedy}"
        )
    if len(text) != JH_SIMPLE_ROWS:
        note_once(
            f"{path} has {len(text)} rows, "
            f"jh-simple-dataset.csv as published {JH_SIMPLE_ROWS}"
        )


def by_folds(
    columns: Any,
    targets: np.ndarray,
    class_names: tuple[str, ...],
    fold: int,
    num_folds: int,
    groups: np.ndarray | None = None,
) -> TabularData:
    """Divide a table into training and test part by the folds of a cross-validation.

    Args:
        columns: data frame of the inputs.
        targets: ``(N,)``, class indices or numbers.
        class_names: names of the classes; empty for regression.
        fold: index of the fold that is the test part, from 0.
        num_folds: number of folds.
        groups: ``(N,)``, groups of rows that stay together; None for none.

    Raises:
        ValueError: the fold or the number of folds is out of range.
    """
    generator = np.random.default_rng(FOLDS_SEED)
    if groups is None:
        train, test = fold_indices(len(targets), num_folds, fold, generator)
    else:
        train, test = group_fold_indices(groups, targets, num_folds, fold, generator)
    return _divided(columns, targets, class_names, train, test, groups)


def _divided(
    columns: Any,
    targets: np.ndarray,
    class_names: tuple[str, ...],
    train: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray | None,
) -> TabularData:
    tensor = torch.tensor(targets)  # a copy: arrays from pandas may be read-only
    train_groups = None
    if groups is not None:
        train_groups = groups[train]
    return TabularData(
        columns.iloc[train],
        tensor[train],
        columns.iloc[test],
        tensor[test],
        class_names,
        train_groups,
    )
