"""The encoding of a table as plain data; `column_encoding` encodes other tables by it.

Every run comes here, and only a table needs pandas, which is slow to import.

A column is a dict with its `name`, its `kind` and what the training rows taught:

- `number`: ``(x - subtract) / divide``, with `fill` where a value is missing;
- `quantile`: the normal score of the rank of x among the `quantiles`, with `fill`;
- `constant`: `value` in every row;
- `category`: one column of 0 and 1 for each of the `categories`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from normlab.data.encoding import Encoder

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
