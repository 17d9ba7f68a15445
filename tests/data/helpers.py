"""Tables for the tests of data."""

import torch

from normlab.data.tabular import csv

LINES = """\
id,size,colour,price
1,1,red,10
2,2,blue,20
3,,red,30
4,4,,40
5,5,green,50
6,6,red,60
"""


def read(path, fold=0, num_folds=3, target="price", drop=("id",), **options):
    return csv(path, target, fold, num_folds, drop=drop, **options)


def encoded(table, rows=None, normalize="none"):
    rows = (
        torch.arange(len(table.train_targets)) if rows is None else torch.tensor(rows)
    )
    return table.encode(table.fit(rows, normalize))
