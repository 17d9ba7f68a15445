"""The stored description of inputs prepares samples as the data set did."""

import json
import math

import pytest
import torch

from normlab.data.blocks import Part
from normlab.data.parts import Parts
from normlab.data.stored_inputs import (
    LARGEST_SIDE,
    class_names,
    describe_inputs,
    inputs_from,
    read_inputs,
)
from normlab.data.transforms import ImageTransform, Unchanged


def image_parts():
    inputs = torch.randint(256, (6, 3, 4, 4), dtype=torch.uint8)
    transform = ImageTransform((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 8, flip=True)
    part = Part(inputs, torch.zeros(6), torch.arange(6), transform)
    return Parts(part, part, part, (3, 8, 8), 5)


def test_images_are_prepared_as_in_evaluation():
    parts = image_parts()
    content = json.loads(json.dumps(describe_inputs(parts)))
    inputs = inputs_from(content)
    assert (inputs.input_shape, inputs.num_outputs) == ((3, 8, 8), 5)
    samples = parts.test.inputs
    expected = parts.test.evaluation_inputs(parts.test.rows)
    assert torch.equal(inputs.prepared(samples), expected)
    message = r"of shape \(N, 3, 4, 4\), got \(6, 3, 4, 5\)"
    with pytest.raises(ValueError, match=message):
        inputs.prepared(torch.zeros(6, 3, 4, 5))


def test_samples_without_a_transform_stay_as_they_are():
    part = Part(torch.rand(6, 7), torch.zeros(6), torch.arange(6), Unchanged())
    inputs = inputs_from(describe_inputs(Parts(part, part, part, (7,), 1)))
    assert torch.equal(inputs.prepared(part.inputs), part.inputs)


CONTENT = {
    "schema": 1,
    "input_shape": [1, 8, 8],
    "num_outputs": 2,
    "sample_shape": [1, 4, 4],
    "images": {"mean": [0.5], "std": [0.5], "size": 8, "bytes": True},
}
CATEGORY = {"name": "a", "kind": "category", "categories": ["x", "y"]}
NUMBER = {"name": "b", "kind": "number", "fill": 0, "subtract": 0, "divide": 1.0}
RANKS = {"name": "b", "kind": "quantile", "fill": 0, "quantiles": [0, 1]}
TABULAR = {
    "schema": 1,
    "input_shape": [3],
    "num_outputs": 1,
    "sample_shape": [3],
    "columns": [NUMBER, CATEGORY],
    "target": {"mean": 0, "std": 1, "offset": 0},
}


def test_the_contents_below_are_right_before_they_are_changed():
    assert inputs_from(CONTENT).transform == ImageTransform((0.5,), (0.5,), 8)
    assert inputs_from(TABULAR).target == {"mean": 0.0, "std": 1.0, "offset": 0.0}


@pytest.mark.parametrize(
    ("content", "change", "message"),
    [
        (CONTENT, {"schema": 2}, "schema must be 1"),
        (CONTENT, {"num_outputs": True}, "num_outputs must be a whole number"),
        (CONTENT, {"num_outputs": 10**9}, "num_outputs must be a whole number"),
        (CONTENT, {"input_shape": [1, 8]}, r"input_shape must be \[1, 8, 8\]"),
        (CONTENT, {"sample_shape": "x"}, "sample_shape must be a list of sizes"),
        (CONTENT, {"sample_shape": [3, 4, 4]}, "an image with 1 channels"),
        (CONTENT, {"sample_shape": [1, 2**20, 2**20]}, "of at most 67108864 values"),
        (CONTENT, {"images": []}, "images must be a mapping"),
        (
            CONTENT,
            {"images": CONTENT["images"] | {"size": LARGEST_SIDE + 1}},
            "images.size must be a whole number from 1 to 4096",
        ),
        (
            CONTENT,
            {"images": CONTENT["images"] | {"std": [math.nan]}},
            "images.std must be a list of numbers",
        ),
        (
            CONTENT,
            {"images": CONTENT["images"] | {"std": [0]}},
            "every channel must vary",
        ),
        (
            CONTENT,
            {"images": CONTENT["images"] | {"bytes": 1}},
            "images.bytes must be true or false",
        ),
        (TABULAR, {"input_shape": [4]}, r"input_shape must be \[3\], got \[4\]"),
        (TABULAR, {"columns": [NUMBER, NUMBER, CATEGORY]}, "every column once"),
        (TABULAR, {"columns": [NUMBER | {"divide": 0}]}, r"\[0\].divide must not"),
        (TABULAR, {"columns": [NUMBER | {"fill": "x"}]}, r"\[0\].fill must be a numb"),
        (TABULAR, {"columns": [RANKS | {"quantiles": [2, 1]}]}, "in ascending order"),
        (TABULAR, {"columns": [RANKS | {"quantiles": [0] * 1001}]}, "in ascending ord"),
        (TABULAR, {"columns": [NUMBER | {"kind": "os"}]}, "must be one of number, qu"),
        (
            TABULAR,
            {"columns": [CATEGORY | {"categories": [1]}]},
            "categories must be a list of names",
        ),
        (TABULAR, {"columns": [3]}, r"columns\[0\] must be a mapping with a name"),
        (TABULAR, {"target": {"mean": math.inf}}, "target.mean must be a number"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path, content, change, message):
    path = tmp_path / "inputs.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=message) as error:
        read_inputs(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1


def test_classes_without_a_name_are_called_by_their_number():
    assert class_names(None, 3) == ("0", "1", "2")
    assert class_names(["cat", "dog"], 3) == ("cat", "dog", "2")
