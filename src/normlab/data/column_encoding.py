"""Encode the columns of a table as those of the training rows were encoded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from normlab.data.cell_values import numbers_of, one_spelling
from normlab.data.columns import MISSING_CATEGORY
from normlab.data.notes import note_once, shortened
from normlab.data.stored_columns import Column


def encode_columns(columns: list[Column], table: pd.DataFrame, path: str) -> np.ndarray:
    """Encode a table as the training rows were encoded: float32 ``(N, F)``.

    Columns are found by their names. Those that the run does not have are left out,
    and categories that no training row had become zeros; a note names both.

    Args:
        columns: from `normlab.data.stored_columns.describe_columns`.
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
