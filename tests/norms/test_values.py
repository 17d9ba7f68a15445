"""Texts of values are the same in every process and differ if the values do."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from normlab.norms.values import parts_of, value_text


class Box:
    def __init__(self, content):
        self.content = content


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 1.0),
        (1, "1"),
        ([1, 2], [2, 1]),
        ([1], (1,)),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.ones(2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(5000), torch.eye(5000)[2500]),
        (np.zeros(2), np.ones(2)),
        (torch.relu, torch.tanh),
        (torch.nn.ReLU, torch.nn.Tanh),
        (torch, np),
        (Box(1), Box(2)),
    ],
)
def test_texts_differ_if_values_do(first, second):
    assert value_text(first) != value_text(second)


def test_equal_values_have_equal_texts():
    assert value_text(Box([1])) == value_text(Box([1]))
    assert value_text(torch.ones(3, 2).T) == value_text(torch.ones(2, 3))
    assert value_text(torch.tensor(1.0, dtype=torch.bfloat16)).startswith("Tensor")


def test_a_list_that_contains_itself_has_a_text():
    values = [1]
    values.append(values)
    assert value_text(values) == "list[1, ...]"


def test_the_text_is_the_same_in_every_process():
    code = (
        "import torch; from normlab.norms.values import value_text; "
        "print(value_text([{'a', 'b', 'cd'}, torch.relu, object(), lambda x: x]))"
    )
    texts = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        process = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            check=True,
            env=environment,
            text=True,
        )
        texts.add(process.stdout)
    assert len(texts) == 1


def test_parts_are_those_of_containers_and_their_classes():
    box = Box(1)
    parts = parts_of({"a": [box, (torch.relu,)]})
    assert box in parts
    assert Box in parts
    assert torch.relu in parts
