"""Tables: samples as rows, one column to predict; columns are encoded by what the training part alone shows.

A table has no official test part: one fold of a cross-validation is, and a cross-validation is a sweep over `fold`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from normlab.data.arrays import Arrays
from normlab.data.downloads import check_digest, data_path, digest_of, download_file
from normlab.data.splits import fold_indices

COARSE = 1e-5  # standard deviations: targets that float32 moves by more are learned as differences from their mean
FOLDS_SEED = 0  # the assignment to folds is part of the data set: the same for every seed of a run
MISSING = ("", "NA", "NaN", "nan", "?")
JH_SIMPLE = "https://data.heatonresearch.com/data/t81-558/jh-simple-dataset.csv"
JH_SIMPLE_TASKS = {"age": "regression", "product": "classification"}
JH_SIMPLE_CATEGORIES = ("job", "area", "product")
JH_SIMPLE_COLUMNS = (
    *(
        "id",
        "job",
        "area",
        "income",
        "aspect",
        "subscriptions",
        "dist_healthy",
        "save_rate",
        "dist_unhealthy",
    ),
    *("age", "pop_dense", "retail_dense", "crime", "product"),
)
JH_SIMPLE_ROWS = 2000


@dataclass(frozen=True)
class Encoder:
    """What the training rows of a table teach about its columns and its target.

    Attributes:
        columns: fitted scikit-learn `ColumnTransformer`.
        constant: columns of numbers that do not differ in these rows; they are the same everywhere for the network.
        target_offset: subtracted from every target, since float32 cannot tell numbers near 1.6e9 apart; else 0.
    """

    columns: Any
    constant: tuple[str, ...] = ()
    target_offset: float = 0.0


@dataclass(frozen=True)
class Table:
    """A data set whose columns become numbers once it is known which rows train.

    Attributes:
        train_columns: data frame of the training and validation rows; float64 columns with NaN where a value is
            missing, and columns of text.
        train_targets: ``(N,)`` int64 class indices, or float64 numbers in their own unit.
        test_columns: as `train_columns`.
        test_targets: as `train_targets`.
        class_names: name of class ``i`` at index ``i``; empty for regression.
    """

    train_columns: Any
    train_targets: Tensor
    test_columns: Any
    test_targets: Tensor
    class_names: tuple[str, ...] = ()

    def fit(self, rows: Tensor, standardize: bool) -> Encoder:
        """Learn the encoding from some of the training rows, and from nothing else.

        Numbers: missing values become the median, then ``(x - mean) / std``. A column without spread in these rows
        stays at their value in all others too (0 when standardized, or when they have none): its weights never saw
        another.
        Text: a column of 0 and 1 for every category that these rows have, all 0 for any other category.

        Args:
            rows: int64, the training part without validation.
            standardize: or leave numbers in their own units.
        """
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import (
            FunctionTransformer,
            OneHotEncoder,
            StandardScaler,
        )

        columns = self.train_columns.iloc[rows.numpy()]
        numbers = columns.select_dtypes(np.float64)
        filled = numbers.fillna(numbers.median()).fillna(0.0)
        numeric = [name for name in numbers if _varies(filled[name])]
        constant = [name for name in numbers if name not in numeric]
        categorical = [name for name in columns if name not in numbers]
        held = (
            np.zeros(len(constant))
            if standardize
            else filled[constant].iloc[0].to_numpy()
        )
        impute = SimpleImputer(strategy="median", keep_empty_features=True)
        scale = StandardScaler() if standardize else "passthrough"
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        hold = FunctionTransformer(partial(_held, values=held))
        numeric_steps = make_pipeline(impute, scale)
        transformer = ColumnTransformer(
            [
                ("numeric", numeric_steps, numeric),
                ("constant", hold, constant),
                ("text", one_hot, categorical),
            ]
        )
        return Encoder(
            transformer.fit(columns), tuple(constant), _offset(self.train_targets[rows])
        )

    def encode(self, encoder: Encoder) -> Arrays:
        """All rows as float32 ``(N, F)``, by an encoding from `fit`, of this table or one with the same columns."""
        encoded = []
        for columns, targets in (
            (self.train_columns, self.train_targets),
            (self.test_columns, self.test_targets),
        ):
            encoded.append(
                torch.from_numpy(encoder.columns.transform(columns).astype(np.float32))
            )
            encoded.append(
                (targets - encoder.target_offset).float()
                if targets.is_floating_point()
                else targets
            )
        return Arrays(*encoded, self.class_names)

    def unknown_categories(self, encoder: Encoder) -> dict[str, list[str]]:
        """By column, the categories that the rows of `fit` did not have: `encode` makes them 0 everywhere."""
        _, one_hot, names = encoder.columns.transformers_[-1]
        if not len(names):
            return {}
        known = dict(zip(names, map(set, one_hot.categories_), strict=True))
        found = {
            name: {*self.train_columns[name], *self.test_columns[name]} - known[name]
            for name in names
        }
        return {
            name: sorted(categories) for name, categories in found.items() if categories
        }


def _varies(column: Any) -> bool:
    """Whether numbers differ by more than rounding, below which scikit-learn's scaler would not divide by it."""
    rounding = len(column) * float(np.finfo(np.float64).eps)
    return column.std(ddof=0) > 2 * rounding * abs(column.mean())


def _held(columns: Any, values: np.ndarray) -> np.ndarray:
    return np.tile(values, (len(columns), 1))


def _offset(targets: Tensor) -> float:
    """What to subtract from float64 targets before they become float32; 0 where that can tell them apart."""
    if not targets.is_floating_point():
        return 0.0
    rounding = (targets - targets.float()).abs().max()
    return (
        float(targets.mean()) if rounding > COARSE * targets.std(correction=0) else 0.0
    )


def diabetes(fold: int, num_folds: int) -> Table:
    """442 patients, ten measurements in their own units, and how far the disease went after a year.

    Efron, Hastie, Johnstone and Tibshirani (2004), embedded in scikit-learn.

    Raises:
        ValueError: a fold out of range.
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False, as_frame=True)
    return by_folds(data.data, data.target.to_numpy(np.float64), (), fold, num_folds)


def csv(
    root: str,
    target: str,
    fold: int,
    num_folds: int,
    task: str = "regression",
    categorical: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
    separator: str = ",",
) -> Table:
    """Any file of numeric and categorical columns with a line of names on top.

    Args:
        root: the file.
        target: the column to predict.
        fold: of `num_folds`, the test part; the assignment of rows is fixed and shuffled.
        num_folds: at least 2.
        task: `regression`, or `classification` where every different value of `target` is a class.
        categorical: columns that hold categories; None takes those in which no value is a number, tells which, and
            refuses what looks like numbers with a decimal comma or differs in nearly every row.
        drop: columns to leave out, such as row numbers.
        missing: what stands for a missing value. In text columns it is a category of its own.
        separator: between columns.

    Raises:
        ValueError: what is wrong with the file, with column, row and value.
    """
    from normlab.data.columns import read_text

    return _from_text(
        read_text(root, separator, missing),
        root,
        target,
        fold,
        num_folds,
        task,
        categorical,
        drop,
    )


def _from_text(
    text: Any,
    root: str,
    target: str,
    fold: int,
    num_folds: int,
    task: str,
    categorical: Sequence[str] | None,
    drop: Sequence[str],
    remedy: str | None = None,
) -> Table:
    """The table in a file that was read; `remedy` is what an error advises in place of the options of `csv`."""
    from normlab.data.columns import (
        check_names,
        class_targets,
        columns_of,
        note_categories,
        number_targets,
    )

    check_names(text, root, target, categorical, drop)
    if isinstance(num_folds, int) and len(text) < num_folds:
        rows = "1 row" if len(text) == 1 else f"{len(text)} rows"
        raise ValueError(
            f"{root} has {rows}, dataset.num_folds={num_folds} needs at least as many"
        )
    columns = columns_of(text, root, target, categorical, drop, remedy)
    if categorical is None:
        note_categories(columns, root)
    if task == "classification":
        targets, class_names = class_targets(text[target], root)
    else:
        targets, class_names = number_targets(text[target], root, remedy), ()
    return by_folds(columns, targets, class_names, fold, num_folds)


def jh_simple(
    root: str,
    target: str,
    fold: int,
    num_folds: int,
    task: str,
    sha256: str | None = None,
) -> Table:
    """2,000 made-up customers (Heaton, "Applications of Deep Neural Networks", course T81-558): numbers and categories.

    Columns: id, job, area, income, aspect, subscriptions, dist_healthy, save_rate, dist_unhealthy, age, pop_dense,
    retail_dense, crime, product. `id` is left out.

    Args:
        root: the file, or the folder that holds jh-simple-dataset.csv; downloaded there if it is not.
        target: `age` (regression) or `product` (classification).
        fold: as in `csv`.
        num_folds: as in `csv`.
        task: the one that belongs to `target`.
        sha256: hexadecimal checksum that the file must have, or None.

    Raises:
        ValueError: another target or task, no file and no network, another checksum, other columns, or as `csv`.
    """
    if JH_SIMPLE_TASKS.get(target) != task:
        raise ValueError(
            f"dataset.target must be age (with dataset.task=regression) or product (with dataset.task=classification "
            f"dataset.split=stratified), got {target!r} with {task}"
        )
    path = data_path(root, "jh-simple-dataset.csv or of its folder")
    path = path if path.suffix == ".csv" else path / JH_SIMPLE.rpartition("/")[2]
    if not path.exists():
        download_file(JH_SIMPLE, sha256, path)
        if sha256 is None:
            print(
                f"note: downloaded {path}; to keep to it, dataset.sha256={digest_of(path, 'sha256')}",
                file=sys.stderr,
            )
    if sha256 is not None:
        check_digest(path, "sha256", sha256)
    from normlab.data.columns import read_text

    text, remedy = (
        read_text(str(path), ",", MISSING),
        f"take the file as published: {JH_SIMPLE}",
    )
    _check_jh_simple(text, str(path), remedy)
    categorical = [name for name in JH_SIMPLE_CATEGORIES if name != target]
    return _from_text(
        text, str(path), target, fold, num_folds, task, categorical, ["id"], remedy
    )


def _check_jh_simple(text: Any, path: str, remedy: str) -> None:
    from normlab.data.columns import tell

    lacking = [name for name in JH_SIMPLE_COLUMNS if name not in text]
    others = [name for name in text if name not in JH_SIMPLE_COLUMNS]
    if lacking or others:
        says = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [
            f"has {', '.join(others[:5])}"
        ] * bool(others)
        raise ValueError(
            f"{path} must have the {len(JH_SIMPLE_COLUMNS)} columns of jh-simple-dataset.csv and no others, "
            f"it {' and '.join(says)}; {remedy}"
        )
    if len(text) != JH_SIMPLE_ROWS:
        tell(
            f"{path} has {len(text)} rows, jh-simple-dataset.csv as published {JH_SIMPLE_ROWS}"
        )


def by_folds(
    columns: Any,
    targets: np.ndarray,
    class_names: tuple[str, ...],
    fold: int,
    num_folds: int,
) -> Table:
    """The table with fold `fold` as its test part."""
    train, test = fold_indices(
        len(targets), num_folds, fold, np.random.default_rng(FOLDS_SEED)
    )
    targets = torch.tensor(targets)  # a copy: arrays from pandas may not be written to
    return Table(
        columns.iloc[train],
        targets[train],
        columns.iloc[test],
        targets[test],
        class_names,
    )
