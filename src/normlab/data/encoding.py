"""Tables, and how their columns become numbers.

What the encoding depends on is learned from the training rows alone.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.array_files import GIGABYTE
from normlab.data.arrays import Arrays
from normlab.data.mapped import memory_limit
from normlab.data.notes import shortened

# If float32 changes a target by more than this, in standard deviations of the target,
# targets are learned as differences from their mean.
COARSE = 1e-5
MOST_QUANTILES = 1000


class Columns(NamedTuple):
    """Columns that are encoded alike.

    Attributes:
        kind: `numeric`, `constant` or `text`.
        names: of the columns.
        steps: fitted transformers of scikit-learn, applied one after the other.
    """

    kind: str
    names: list[Any]
    steps: list[Any]

    def encode(self, table: Any) -> np.ndarray:
        """These columns of a data frame as numbers ``(N, F)``.

        Raises:
            ValueError: the table lacks one of them.
        """
        lacking = [str(name) for name in self.names if name not in table]
        if lacking:
            raise ValueError(
                f"the table must have the columns that the encoder was fitted to, it "
                f"lacks {shortened(lacking)}"
            )
        values = table
        if list(table) != self.names:  # which takes as long as the encoding
            values = table[self.names]
        if self.kind == "numeric":
            values = values.to_numpy()  # checked many times faster than a data frame
        for step in self.steps:
            values = step.transform(values)
        encoded: np.ndarray = values
        return encoded


@dataclass(frozen=True)
class Encoder:
    """What the training rows of a table teach about its columns and its target.

    Attributes:
        columns: in the order of the network's inputs.
        constant: columns of numbers with a single value in the training rows. For the
            network they have this value in all rows.
        target_offset: number to subtract from every target. It is 0 unless float32
            cannot represent the targets well, such as numbers near 1.6e9.
    """

    columns: tuple[Columns, ...]
    constant: tuple[str, ...] = ()
    target_offset: float = 0.0


@dataclass(frozen=True)
class TabularData:
    """A table whose columns become numbers once the training rows are known.

    Attributes:
        train_columns: data frame of the rows for training and validation. Columns of
            numbers are float64 with NaN where a value is missing; all others are text.
        train_targets: ``(N,)``, int64 class indices or float64 numbers in their unit.
        test_columns: as `train_columns`.
        test_targets: as `train_targets`.
        class_names: name of class ``i`` at index ``i``; empty for regression.
        train_groups: ``(N,)``, groups of the training rows, none of which may both
            train and validate; None for none.
    """

    train_columns: Any
    train_targets: Tensor
    test_columns: Any
    test_targets: Tensor
    class_names: tuple[str, ...] = ()
    train_groups: np.ndarray | None = None

    def fit(self, rows: Tensor, normalize: str = "none") -> Encoder:
        """Learn the encoding from some rows.

        - Columns of numbers: missing values become the median, then numbers are scaled,
          see `normalize`.
        - Columns of numbers with a single value in these rows: they keep it in all
          other rows, since the network's weights never see another. It is 0 if numbers
          are scaled or all values are missing.
        - Columns of text: one column of 0 and 1 for each category that these rows have.
          Any other category is encoded as zeros.

        Args:
            rows: int64, the training rows without those for validation.
            normalize: `train` for ``(x - mean) / std``, `robust` for ``(x - median)``
                divided by the difference of the quartiles, `quantile` for the normal
                score of the rank (scikit-learn's QuantileTransformer, by at most 1,000
                quantiles), `none` for numbers in their units.

        Raises:
            ValueError: the encoded table would not fit into the memory.
        """
        from sklearn import config_context

        columns = self.train_columns.iloc[rows.numpy()]
        numbers = columns.select_dtypes(np.float64)
        filled = numbers
        if numbers.isna().to_numpy().any():
            filled = numbers.fillna(numbers.median()).fillna(0.0)
        varies = np.array([_varies(values) for values in filled.to_numpy().T], bool)
        varying = list(numbers.columns[varies])
        constant = list(numbers.columns[~varies])
        categorical = [name for name in columns if name not in numbers]

        parts = []
        with config_context(skip_parameter_validation=True):  # ours are valid
            if varying:
                steps = _fitted_numbers(numbers[varying].to_numpy(), normalize)
                parts.append(Columns("numeric", varying, steps))
            if constant:
                values = filled[constant].iloc[0].to_numpy()
                if normalize != "none":
                    values = np.zeros(len(constant))
                parts.append(Columns("constant", constant, [Repeated(values)]))
            if categorical:
                steps = _fitted_categories(columns[categorical])
                parts.append(Columns("text", categorical, steps))
        _check_memory(parts, len(self.train_columns) + len(self.test_columns))
        offset = _offset(self.train_targets[rows])
        return Encoder(tuple(parts), tuple(constant), offset)

    def encode(self, encoder: Encoder) -> Arrays:
        """Encode all rows as float32 ``(N, F)``.

        Args:
            encoder: from `fit`, of this table or of another with the same columns.
        """
        return Arrays(
            train_inputs=_encoded_columns(self.train_columns, encoder),
            train_targets=_encoded_targets(self.train_targets, encoder),
            test_inputs=_encoded_columns(self.test_columns, encoder),
            test_targets=_encoded_targets(self.test_targets, encoder),
            class_names=self.class_names,
        )

    def unknown_categories(self, encoder: Encoder) -> dict[str, list[str]]:
        """Return the categories that the encoder does not know, by column.

        `encode` encodes them as zeros. Columns without such categories are left out.
        """
        unknown = {}
        for kind, names, steps in encoder.columns:
            if kind != "text":
                continue
            for name, categories in zip(names, steps[0].categories_, strict=True):
                present = {*self.train_columns[name], *self.test_columns[name]}
                others = present - set(categories)
                if others:
                    unknown[name] = sorted(others)
        return unknown


class Repeated:
    """A transformer that gives the same values for every row of a table.

    Args:
        values: ``(F,)``.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def transform(self, columns: Any) -> np.ndarray:
        """The values, once for every row of `columns` ``(N, F)``."""
        return np.tile(self.values, (len(columns), 1))


def _fitted_numbers(values: np.ndarray, normalize: str) -> list[Any]:
    """The steps for columns of numbers ``(N, F)``: fill what is missing, then scale."""
    from sklearn.impute import SimpleImputer

    impute = SimpleImputer(strategy="median", keep_empty_features=True)
    filled = impute.fit_transform(values)
    scaler = _scaler(normalize, len(values))
    if scaler is None:
        return [impute]
    return [impute, scaler.fit(filled)]


def _fitted_categories(columns: Any) -> list[Any]:
    """The step for columns of text."""
    from sklearn.preprocessing import OneHotEncoder

    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return [one_hot.fit(columns)]


def _scaler(normalize: str, num_rows: int) -> Any:
    """The transformer of scikit-learn that scales numbers; None leaves them."""
    from sklearn import preprocessing

    if normalize == "train":
        return preprocessing.StandardScaler()
    if normalize == "robust":
        return preprocessing.RobustScaler()
    if normalize == "quantile":
        return preprocessing.QuantileTransformer(
            n_quantiles=min(num_rows, MOST_QUANTILES),
            output_distribution="normal",
            subsample=None,
        )
    return None


def _check_memory(parts: list[Columns], num_rows: int) -> None:
    """Refuse categories that need more memory than there is, as one column each.

    Args:
        parts: columns whose transformers are fitted.
        num_rows: of the whole table, which is encoded as float64 first.

    Raises:
        ValueError: names the column with the most categories.
    """
    num_categories: dict[str, int] = {}
    width = 0
    for part in parts:
        if part.kind == "text":
            counts = map(len, part.steps[0].categories_)
            num_categories.update(zip(part.names, counts, strict=True))
        else:
            width += len(part.names)
    width += sum(num_categories.values())
    needed = 8 * num_rows * width
    memory = memory_limit()
    if needed > memory and num_categories:
        widest = max(num_categories, key=num_categories.__getitem__)
        raise ValueError(
            f"the encoded table must fit into the memory of {memory / GIGABYTE:.1f} "
            f"GiB, its {num_rows:,} rows of {width:,} numbers need "
            f"{needed / GIGABYTE:.1f}; column {widest} has {num_categories[widest]:,} "
            f"categories, leave it out with dataset.drop=[{widest}]"
        )


def _encoded_columns(columns: Any, encoder: Encoder) -> Tensor:
    from sklearn import config_context

    with config_context(skip_parameter_validation=True):
        encoded = [part.encode(columns) for part in encoder.columns]
    together = np.concatenate(encoded, axis=1)
    return torch.from_numpy(together.astype(np.float32))


def _encoded_targets(targets: Tensor, encoder: Encoder) -> Tensor:
    if not targets.is_floating_point():
        return targets
    return (targets - encoder.target_offset).float()


def _varies(column: np.ndarray) -> bool:
    """Whether numbers ``(N,)`` differ by more than rounding.

    Below that, scikit-learn's scaler does not divide by their standard deviation.
    """
    eps = float(np.finfo(np.float64).eps)
    rounding = len(column) * eps
    return bool(column.std() > 2 * rounding * abs(column.mean()))


def _offset(targets: Tensor) -> float:
    """What to subtract from float64 targets before they become float32.

    It is 0 if float32 can tell the targets apart.
    """
    if not targets.is_floating_point():
        return 0.0
    rounding = (targets - targets.float()).abs().max()
    if rounding > COARSE * targets.std(correction=0):
        return float(targets.mean())
    return 0.0
