"""Tables for the tests of data."""

import torch

from normlab.data.columns import Choice, columns_of, read_text
from normlab.data.encoding import TabularData
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


TABLE = """a,b,c,d
1,red,5,7
2,blue,5,8
?,red,5,9
4,?,5,1
10,green,6,2
"""


def table_encoder(path, normalize="train"):
    """A table, and the encoder of its first four rows: c is constant there."""
    path.write_text(TABLE)
    text = read_text(str(path), ",", ["?"])
    columns = columns_of(text, str(path), Choice("d"))
    targets = torch.arange(5.0)
    data = TabularData(columns, targets, columns, targets)
    return text, data, data.fit(torch.arange(4), normalize)
