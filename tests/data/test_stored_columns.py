"""The encoding of a table as plain data."""

import pytest
from tests.data.helpers import table_encoder

from normlab.data.stored_columns import describe_columns, width


def test_a_table_is_described_in_the_order_of_the_inputs(tmp_path):
    _, _, encoder = table_encoder(tmp_path / "table.csv", "robust")
    described = describe_columns(encoder)
    # The median of [1, 2, 2, 4] fills; its quartiles are 1.75 and 2.5.
    number = {"name": "a", "kind": "number", "fill": 2, "subtract": 2, "divide": 0.75}
    constant = {"name": "c", "kind": "constant", "value": 0}
    categories = {"name": "b", "kind": "category"}
    categories["categories"] = ["blue", "missing", "red"]
    assert described == [number, constant, categories]
    assert width(described) == 1 + 1 + 3


def test_a_step_without_a_description_is_named(tmp_path):
    _, _, encoder = table_encoder(tmp_path / "table.csv")
    encoder.columns[0].steps[1] = object()
    with pytest.raises(TypeError, match="object has no description"):
        describe_columns(encoder)
