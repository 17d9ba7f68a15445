"""Which libraries a data set needs."""

import subprocess
import sys

import pytest

from normlab.sweeps.libraries import SCIKIT_LEARN, libraries_of


def dataset(function, split):
    return {"load": {"_target_": f"normlab.data.{function}"}, "split": split}


@pytest.mark.parametrize(
    ("function", "split"),
    [
        ("tabular.diabetes", "random"),
        ("tabular.csv", "tail"),
        ("images.digits", "random"),
        ("images.mnist", "stratified"),
    ],
)
def test_scikit_learn_is_needed_by_tables_digits_and_stratified_splits(function, split):
    assert libraries_of(dataset(function, split)) == SCIKIT_LEARN


@pytest.mark.parametrize("split", ["random", "tail"])
def test_images_of_files_need_nothing_that_takes_long(split):
    assert libraries_of(dataset("images.mnist", split)) == ()


def test_data_that_bring_their_validation_part_need_no_split():
    options = {"load": {"_target_": "package.function"}}
    assert libraries_of(options) == ()
    photographs = dataset("images.image_folder", "stratified")
    assert libraries_of(photographs | {"use_val": True}) == ()
    assert libraries_of(photographs | {"use_val": False}) == SCIKIT_LEARN


DIABETES = """
import sys
from importlib import import_module

from normlab.sweeps.libraries import libraries_of

load = {"_target_": "normlab.data.tabular.diabetes"}
for name in libraries_of({"load": load}):
    import_module(name)

import torch
from normlab.data.tabular import diabetes

before = set(sys.modules)
table = diabetes(0, 5)
table.encode(table.fit(torch.arange(100), "train"))
print(sorted(name for name in set(sys.modules) - before if "sklearn" in name))
"""


def test_nothing_but_the_data_is_left_to_import_for_a_table():
    ended = subprocess.run(
        [sys.executable, "-c", DIABETES], capture_output=True, text=True
    )
    data = ["sklearn.datasets.data", "sklearn.datasets.descr"]
    assert ended.stdout == f"{data}\n", ended.stderr
