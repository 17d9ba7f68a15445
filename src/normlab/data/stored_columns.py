"""The encoding of a table as plain data, which encodes other tables in the same way.

A column is a dict with its `name`, its `kind` and what the training rows taught:

- `number`: ``(x - subtract) / divide``, with `fill` where a value is missing;
- `quantile`: the normal score of the rank of x among the `quantiles`, with `fill`;
- `constant`: `value` in every row;
- `category`: one column of 0 and 1 for each of the `categories`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from normlab.data.cell_values import numbers_of, one_spelling
from normlab.data.columns import MISSING_CATEGORY
from normlab.data.encoding import Encoder
from normlab.data.notes import note_once, shortened

Column = dict[str, Any]


def describe_columns(encoder: Encoder) -> list[Column]:
    """What an encoder does to each column, in the order of the network's inputs.

    Args:
        encoder: from `TabularData.fit`.

    Raises:
        TypeError: a step of the encoder has no description.
    """
    columns: list[Column] = []
    for kind, names, steps in encoder.columns:
        describe = DESCRIBE[kind]
        columns += describe(steps, list(map(str, names)))
    return columns


def _describe_numbers(steps: list[Any], names: list[str]) -> list[Column]:
    impute, *scalers = steps
    scale: Any = scalers[0] if scalers else None
    fills = impute.statistics_.tolist()
    columns: list[Column] = []
    if type(scale).__name__ == "QuantileTransformer":
        quantiles = scale.quantiles_.T.tolist()
        for name, fill, of_column in zip(names, fills, quantiles, strict=True):
            column = {
                "name": name,
                "kind": "quantile",
                "fill": fill,
                "quantiles": of_column,
            }
            columns.append(column)
        return columns
    subtract, divide = _scaling(scale, len(names))
    for index, name in enumerate(names):
        column = {
            "name": name,
            "kind": "number",
            "fill": fills[index],
            "subtract": float(subtract[index]),
            "divide": float(divide[index]),
        }
        columns.append(column)
    return columns


def _scaling(scale: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What a step of scikit-learn subtracts from each column and divides it by."""
    if scale is None:
        return np.zeros(count), np.ones(count)
    name = type(scale).__name__
    if name == "StandardScaler":
        return scale.mean_, scale.scale_
    if name == "RobustScaler":
        return scale.center_, scale.scale_
    raise TypeError(f"{name} has no description")


def _describe_constants(steps: list[Any], names: list[str]) -> list[Column]:
    columns = []
    for name, value in zip(names, steps[0].values, strict=True):
        column = {"name": name, "kind": "constant", "value": float(value)}
        columns.append(column)
    return columns


def _describe_categories(steps: list[Any], names: list[str]) -> list[Column]:
    columns = []
    for name, categories in zip(names, steps[0].categories_, strict=True):
        texts = list(map(str, categories))
        column = {"name": name, "kind": "category", "categories": texts}
        columns.append(column)
    return columns


# By `kind`, see `normlab.data.encoding.Columns`.
DESCRIBE: dict[str, Callable[[list[Any], list[str]], list[Column]]] = {
    "numeric": _describe_numbers,
    "constant": _describe_constants,
    "text": _describe_categories,
}


def width(columns: list[Column]) -> int:
    """How many numbers the columns of one row become."""
    total = 0
    for column in columns:
        if column["kind"] == "category":
            total += len(column["categories"])
        else:
            total += 1
    return total


def encode_columns(columns: list[Column], table: pd.DataFrame, path: str) -> np.ndarray:
    """Encode a table as the training rows were encoded: float32 ``(N, F)``.

    Columns are found by their names. Those that the run does not have are left out,
    and categories that no training row had become zeros; a note names both.

    Args:
        columns: from `describe_columns`.
        table: data frame of text, from `normlab.data.columns.read_text`.
        path: of its file, for messages.

    Raises:
        ValueError: columns are missing, or a cell is no number where one must be.
    """
    names = [column["name"] for column in columns]
    lacking = [name for name in names if name not in table]
    if lacking:
        raise ValueError(
            f"{path} must have the columns with which the run was trained, it lacks "
            f"{shortened(lacking)}; it has {shortened(list(map(str, table)))}"
        )
    encoded = []
    for column in columns:
        encode = ENCODE[column["kind"]]
        text: Any = table[column["name"]]
        encoded.append(encode(column, text, path))
    return np.concatenate(encoded, axis=1).astype(np.float32)


def _filled(column: Column, text: pd.Series, path: str) -> np.ndarray:
    values = numbers_of(text, path, "correct it")
    return values.fillna(column["fill"]).to_numpy(np.float64)


def _encode_quantile(column: Column, text: pd.Series, path: str) -> np.ndarray:
    from sklearn.preprocessing import QuantileTransformer

    quantiles = np.array(column["quantiles"])
    count = len(quantiles)
    scaler = QuantileTransformer(output_distribution="normal")
    # What fitting would set (checked with scikit-learn 1.9).
    scaler.n_features_in_ = 1
    scaler.n_quantiles_ = count
    scaler.quantiles_ = quantiles[:, None]
    scaler.references_ = np.linspace(0, 1, count)
    filled = _filled(column, text, path)
    scores: np.ndarray = scaler.transform(filled[:, None])
    return scores


def _encode_number(column: Column, text: pd.Series, path: str) -> np.ndarray:
    filled = _filled(column, text, path)
    centred = filled - column["subtract"]
    scaled: np.ndarray = centred / column["divide"]
    return scaled[:, None]


def _encode_constant(column: Column, text: pd.Series, path: str) -> np.ndarray:
    shape = (len(text), 1)
    return np.full(shape, column["value"])


def _encode_category(column: Column, text: pd.Series, path: str) -> np.ndarray:
    name = column["name"]
    texts = one_spelling(text, path, f"one category of {name}")
    texts = texts.fillna(MISSING_CATEGORY)
    known = np.array(column["categories"], dtype=object)
    unknown = sorted(set(texts) - set(known))
    if unknown:
        note_once(
            f"{path}: these categories of {name} are in no training row and are "
            f"encoded as zeros: {shortened(unknown)}"
        )
    values = texts.to_numpy(object)
    return values[:, None] == known


ENCODE: dict[str, Callable[[Column, pd.Series, str], np.ndarray]] = {
    "number": _encode_number,
    "quantile": _encode_quantile,
    "constant": _encode_constant,
    "category": _encode_category,
}
