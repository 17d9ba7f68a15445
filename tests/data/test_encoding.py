import pandas as pd
import pytest
import torch
from scipy.stats import norm

from data.helpers import LINES, encoded, read
from normlab.data.encoding import TabularData


def test_numbers_are_standardized_or_stay_in_their_units(write):
    text = "x,same,y\n1,7,0\n3,7,1\n5,8,2\n9,9,3\n"
    table = read(write(text), fold=0, num_folds=2, target="y", drop=())
    rows = torch.tensor(
        [
            table.train_targets.tolist().index(y)
            for y in sorted(table.train_targets.tolist())
        ]
    )
    numbers = table.train_columns.iloc[rows.numpy()]
    mean, std = numbers["x"].mean(), numbers["x"].std(ddof=0)
    encoded = table.encode(table.fit(rows, normalize="train"))
    expected = [(x - mean) / std for x in table.test_columns["x"]]
    assert encoded.test_inputs[:, 0].tolist() == pytest.approx(expected)
    raw = table.encode(table.fit(rows))
    assert raw.test_inputs[:, 0].tolist() == table.test_columns["x"].tolist()


def test_an_encoding_computed_by_hand(write):
    """Columns: size, then 0 or 1 per colour of the training rows, in sorted order."""
    table = read(write(LINES), fold=2)
    assert (table.train_targets.tolist(), table.test_targets.tolist()) == (
        [10, 20, 30, 40],
        [50, 60],
    )
    data = encoded(table, rows=[0, 1, 3])  # sizes 1, 2, 4; blue, missing, red
    assert data.train_inputs.tolist() == [
        [1, 0, 0, 1],
        [2, 1, 0, 0],
        [2, 0, 0, 1],
        [4, 0, 1, 0],
    ]
    assert data.test_inputs.tolist() == [[5, 0, 0, 0], [6, 0, 0, 1]]  # green is unknown
    assert data.train_inputs.dtype == torch.float32


def test_categories_that_need_too_much_memory_are_refused(write, monkeypatch):
    """6 rows of a size and 3 colours, 8 bytes each: 192 bytes."""
    table = read(write(LINES), fold=2)
    rows = torch.tensor([0, 1, 3])
    monkeypatch.setattr("normlab.data.encoding.memory_limit", lambda: 192)
    table.fit(rows)
    monkeypatch.setattr("normlab.data.encoding.memory_limit", lambda: 191)
    message = (
        "its 6 rows of 4 numbers need .*; column colour has 3 categories, leave it out "
        r"with dataset.drop=\[colour\]"
    )
    with pytest.raises(ValueError, match=message):
        table.fit(rows)


def test_numbers_are_standardized_by_the_given_rows(write):
    data = encoded(read(write(LINES), fold=2), rows=[0, 1, 3], normalize="train")
    mean, std = 7 / 3, (14 / 9) ** 0.5  # of 1, 2, 4
    assert data.train_inputs[:, 0].tolist() == pytest.approx(
        [(size - mean) / std for size in (1, 2, 2, 4)]
    )
    assert data.test_inputs[:, 0].tolist() == pytest.approx(
        [(5 - mean) / std, (6 - mean) / std]
    )
    assert data.train_inputs[:, 1:].unique().tolist() == [
        0,
        1,
    ]  # categories stay as they are


def test_other_rows_do_not_change_the_encoding(write):
    table = read(write(LINES), fold=2)
    changed = (
        LINES.replace("3,,red", "3,777,pink")
        .replace("5,5,green", "5,999,pink")
        .replace("6,6,red", "6,-9,violet")
    )
    other = read(write(changed), fold=2)
    rows = [0, 1, 3]
    assert torch.equal(
        encoded(table, rows, True).train_inputs[rows],
        encoded(other, rows, True).train_inputs[rows],
    )


def test_columns_without_spread_in_the_training_rows(write):
    table = read(
        write("a,b,price\n1,,10\n2,3,20\n5,4,30\n1,,40\n1,,50\n7,5,60\n"),
        fold=2,
        drop=(),
    )
    assert table.fit(torch.tensor([0, 3]), normalize="train").constant == (
        "a",
        "b",
    )  # 1 and 1, missing in both
    standardized, raw = (
        encoded(table, [0, 3], normalize) for normalize in ("train", "none")
    )
    assert standardized.train_inputs.tolist() == [[0, 0]] * 4
    assert standardized.test_inputs.tolist() == [[0, 0]] * 2
    assert raw.train_inputs.tolist() == [[1, 0]] * 4
    assert raw.test_inputs.tolist() == [[1, 0]] * 2


def test_rounding_does_not_count_as_spread(write):
    columns = pd.DataFrame({"a": [0.3, 0.1 + 0.2, 1e5], "b": [1.0, 2.0, 3.0]})
    table = TabularData(
        columns, torch.arange(3).double(), columns, torch.arange(3).double()
    )
    assert table.fit(torch.arange(2), normalize="train").constant == ("a",)
    assert encoded(table, [0, 1], normalize="train").train_inputs.tolist() == [
        [-1, 0],
        [1, 0],
        [3, 0],
    ]


def test_large_targets_are_learned_as_differences(write):
    text = "a,seconds\n" + "".join(
        f"{number},{1_600_000_000 + 7 * number}\n" for number in range(8)
    )
    table = read(write(text), fold=0, num_folds=4, target="seconds", drop=())
    encoder = table.fit(torch.arange(6), normalize="train")
    data = table.encode(encoder)
    exact = torch.cat([table.train_targets, table.test_targets])
    assert exact.sort().values.diff().tolist() == [7.0] * 7
    assert encoder.target_offset == table.train_targets.mean().item()
    learned = torch.cat([data.train_targets, data.test_targets])
    assert learned.sort().values.diff().tolist() == pytest.approx([7.0] * 7)
    assert learned.dtype == torch.float32


@pytest.mark.parametrize("first", [0.1, 25.0, 2000.5, 1e6])
def test_other_targets_stay_as_they_are(write, first):
    text = "a,y\n" + "".join(
        f"{number},{first * (1 + number)}\n" for number in range(8)
    )
    table = read(write(text), fold=0, num_folds=4, target="y", drop=())
    assert torch.equal(encoded(table).train_targets, table.train_targets.float())


def test_an_encoder_of_one_table_encodes_another(write):
    table = read(write(LINES))
    encoder = table.fit(torch.arange(4))
    other = read(write(LINES.replace("green", "pink"), "other.csv"))
    assert (
        other.encode(encoder).train_inputs.shape
        == table.encode(encoder).train_inputs.shape
    )
    with pytest.raises(ValueError, match="size"):
        read(write(LINES.replace("size", "length"), "renamed.csv")).encode(encoder)


def test_robust_scaling_ignores_outliers():
    """Median 3 and quartiles 2 and 4, whatever the largest number is."""
    columns = pd.DataFrame({"a": [1.0, 2, 3, 4, 1000]})
    table = TabularData(columns, torch.arange(5.0), columns, torch.arange(5.0))
    encoded = table.encode(table.fit(torch.arange(5), "robust"))
    assert encoded.train_inputs.flatten().tolist() == [-1, -0.5, 0, 0.5, 498.5]


def test_quantile_scaling_is_the_normal_score_of_the_rank():
    columns = pd.DataFrame({"a": [1.0, 2, 3, 4, 1000]})
    targets = torch.arange(5.0)
    table = TabularData(columns, targets, columns, targets)
    encoded = table.encode(table.fit(torch.arange(5), "quantile"))
    expected = norm.ppf([0.25, 0.5, 0.75])
    assert encoded.train_inputs[1:4].flatten().tolist() == pytest.approx(
        expected.tolist(), abs=1e-6
    )
