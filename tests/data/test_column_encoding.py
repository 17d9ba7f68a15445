"""Other tables are encoded as the training rows were."""

import json
import math

import numpy as np
import pytest
from tests.data.helpers import table_encoder

from normlab.data.column_encoding import encode_columns
from normlab.data.stored_columns import describe_columns


@pytest.mark.parametrize("normalize", ["train", "none", "robust", "quantile"])
def test_a_table_is_encoded_as_scikit_learn_does(tmp_path, normalize):
    path = tmp_path / "table.csv"
    text, data, encoder = table_encoder(path, normalize)
    described = json.loads(json.dumps(describe_columns(encoder)))
    encoded = encode_columns(described, text, str(path))
    assert encoded.dtype == np.float32
    expected = data.encode(encoder).train_inputs.numpy()
    assert np.array_equal(encoded, expected)
    # Median 2 for the missing a; mean 2.25 and deviation of [1, 2, 2, 4].
    std = math.sqrt(((1.25**2) + 2 * 0.25**2 + 1.75**2) / 4)
    first = {"train": -1.25 / std, "none": 1.0}
    # Quartiles 1.75 and 2.5; the smallest value has the smallest score.
    first |= {"robust": (1 - 2) / 0.75, "quantile": -5.199338}
    constant = 5.0 if normalize == "none" else 0.0
    # The categories are blue, missing and red.
    assert encoded[0].tolist() == pytest.approx([first[normalize], constant, 0, 0, 1])
    assert encoded[4, 2:].tolist() == [0, 0, 0]


def test_columns_are_found_by_name_and_others_are_refused_by_name(tmp_path):
    path = tmp_path / "table.csv"
    text, _, encoder = table_encoder(path)
    described = describe_columns(encoder)
    turned = text[["c", "b", "a"]]
    assert np.array_equal(
        encode_columns(described, turned, "x"), encode_columns(described, text, "x")
    )
    with pytest.raises(ValueError, match=r"it lacks c; it has a, b, d"):
        encode_columns(described, text[["a", "b", "d"]], "x.csv")
    wrong = text.assign(a=["1", "2", "x", "4", "5"])
    with pytest.raises(ValueError, match=r"column a must hold numbers, row 3 has 'x'"):
        encode_columns(described, wrong, "x.csv")
