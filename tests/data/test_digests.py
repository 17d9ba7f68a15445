"""The digest of data sees other data, and neither the seed nor the split."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from normlab.data.digests import data_digest
from normlab.data.encoding import TabularData


def part(inputs, targets):
    return SimpleNamespace(inputs=inputs, targets=targets)


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(256, (300, 1, 4, 4), generator=generator, dtype=torch.uint8)
    targets = torch.randint(10, (300,), generator=generator)
    train = part(inputs[:200], targets[:200])
    test = part(inputs[200:], targets[200:])
    return SimpleNamespace(train=train, test=test, table=None)


def table():
    columns = pd.DataFrame({"age": [20.0, None, 40.0], "town": ["a", "b", None]})
    targets = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    return TabularData(columns, targets, columns[:2], targets[:2])


def as_parts(data, encoded=0.0):
    inputs = torch.full((3, 2), encoded)  # which depend on the seed
    return SimpleNamespace(
        train=part(inputs, inputs), test=part(inputs, inputs), table=data
    )


def test_equal_data_have_equal_digests():
    assert data_digest(images()) == data_digest(images())
    assert len(data_digest(images())) == 16
    assert data_digest(as_parts(table(), 0.0)) == data_digest(as_parts(table(), 1.0))


@pytest.mark.parametrize("name", ["train", "test"])
def test_data_that_were_cut_sorted_or_exchanged_differ(name):
    digests = {data_digest(images()), data_digest(images(seed=1))}
    changes = (
        lambda found: part(found.inputs[:-1], found.targets[:-1]),
        lambda found: part(found.inputs.flip(0), found.targets.flip(0)),
        lambda found: part(found.inputs, found.targets.roll(1)),
        lambda found: part(found.inputs.float(), found.targets),
        lambda found: part(255 - found.inputs, found.targets),
    )
    for change in changes:
        data = images()
        setattr(data, name, change(getattr(data, name)))
        digests.add(data_digest(data))
    assert len(digests) == 7


def test_tables_differ_by_a_cell_a_name_or_a_target():
    data = table()
    others = [
        replace(data, test_columns=data.test_columns.assign(age=[20.0, 21.0])),
        replace(data, train_columns=data.train_columns.rename(columns={"age": "x"})),
        replace(data, train_targets=data.train_targets + 1),
    ]
    digests = {data_digest(as_parts(other)) for other in [data, *others]}
    assert len(digests) == 4


def test_the_digest_reads_64_rows_of_each_part():
    data = images()
    data.train.inputs[1] = 0  # of 200 rows, those read are about 3 apart
    assert data_digest(data) == data_digest(images())
    data.train.inputs[-1] = 0
    assert data_digest(data) != data_digest(images())
