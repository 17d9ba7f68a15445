"""A digest of the data of a run, by which exchanged data are noticed."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from normlab.data.encoding import TabularData
from normlab.data.parts import Parts

NUM_ROWS = 64  # of each part: reading more would take time


def data_digest(parts: Parts) -> str:
    """Digest of the samples that are stored for training and for the test.

    It holds their numbers, all targets, and the inputs of 64 evenly spaced samples of
    each part. Those for validation count as training samples, so that the digest does
    not depend on the seed. It finds data that were exchanged, sorted or cut, and not a
    change of a few inputs.

    Args:
        parts: as they are stored, before features took the place of images.

    Returns:
        16 hexadecimal digits.
    """
    pieces = _of_tensors(parts)
    if parts.table is not None:
        # Their encoding follows from the training rows, and so from the seed.
        pieces = _of_columns(parts.table)
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    digest = state.hexdigest()
    return digest[:16]


def _of_tensors(parts: Parts) -> Iterator[bytes]:
    both = (parts.train, parts.test)
    for part in both:
        inputs = part.inputs
        shape = list(inputs.shape)
        text = f"{shape} {inputs.dtype}"
        yield text.encode()
        yield _bytes(part.targets)
        rows = _rows(len(inputs))
        sample = inputs[torch.from_numpy(rows)]
        yield _bytes(sample)


def _of_columns(table: TabularData) -> Iterator[bytes]:
    yield from _of_frame(table.train_columns, table.train_targets)
    yield from _of_frame(table.test_columns, table.test_targets)


def _of_frame(columns: Any, targets: Tensor) -> Iterator[bytes]:
    from pandas.util import hash_pandas_object

    names = list(columns.columns)
    text = f"{len(columns)} rows of {names}"
    yield text.encode()
    yield _bytes(targets)
    rows = _rows(len(columns))
    sample = columns.iloc[rows]
    hashes = hash_pandas_object(sample, index=False)
    yield hashes.to_numpy().tobytes()


def _rows(num_rows: int) -> np.ndarray:
    """Indices of evenly spaced rows, the first and the last among them."""
    count = min(NUM_ROWS, num_rows)
    last = num_rows - 1
    places = np.linspace(0, last, count)
    return places.round().astype(np.int64)


def _bytes(values: Tensor) -> bytes:
    plain = values.detach().cpu()
    octets = plain.contiguous().view(torch.uint8)
    return octets.numpy().tobytes()
