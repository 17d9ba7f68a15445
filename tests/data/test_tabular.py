import hashlib
import re

import pandas as pd
import pytest
import torch

from normlab.data.tabular import JH_SIMPLE, Table, csv, diabetes, jh_simple

LINES = """\
id,size,colour,price
1,1,red,10
2,2,blue,20
3,,red,30
4,4,,40
5,5,green,50
6,6,red,60
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="table.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_file


def read(path, fold=0, num_folds=3, target="price", drop=("id",), **options):
    return csv(path, target, fold, num_folds, drop=drop, **options)


def encoded(table, rows=None, standardize=False):
    rows = (
        torch.arange(len(table.train_targets)) if rows is None else torch.tensor(rows)
    )
    return table.encode(table.fit(rows, standardize))


def test_diabetes_in_its_own_units():
    data = diabetes(0, 5)
    assert data.train_columns.shape == (353, 10)
    assert data.test_columns.shape == (89, 10)
    everything = torch.cat([data.train_targets, data.test_targets])
    assert (everything.min().item(), everything.max().item()) == (25.0, 346.0)
    assert data.train_columns["age"].min() == 19.0  # years


def test_every_patient_is_in_one_test_fold():
    tests = torch.cat([diabetes(fold, 5).test_targets for fold in range(5)])
    whole = torch.cat([diabetes(0, 5).train_targets, diabetes(0, 5).test_targets])
    assert torch.equal(tests.sort().values, whole.sort().values)


def test_a_fold_out_of_range_is_refused(write):
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.4, got 5"):
        diabetes(5, 5)
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.4, got -1"):
        diabetes(-1, 5)
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.4, got True"):
        diabetes(True, 5)
    with pytest.raises(
        ValueError, match=r"dataset.num_folds must lie in 2\.\.442 .*, got True"
    ):
        diabetes(0, True)
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.2, got 3"):
        read(write(LINES), fold=3)
    with pytest.raises(
        ValueError,
        match=r"table.csv has 6 rows, dataset.num_folds=7 needs at least as many",
    ):
        read(write(LINES), num_folds=7)


def test_numbers_are_standardized_by_the_training_rows_or_left_alone(write):
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
    encoded = table.encode(table.fit(rows, standardize=True))
    expected = [(x - mean) / std for x in table.test_columns["x"]]
    assert encoded.test_inputs[:, 0].tolist() == pytest.approx(expected)
    raw = table.encode(table.fit(rows, standardize=False))
    assert raw.test_inputs[:, 0].tolist() == table.test_columns["x"].tolist()


def test_a_file_by_folds(write):
    tables = [read(write(LINES), fold) for fold in range(3)]
    assert sorted(torch.cat([table.test_targets for table in tables]).tolist()) == [
        10,
        20,
        30,
        40,
        50,
        60,
    ]
    for table in tables:
        assert (len(table.train_targets), len(table.test_targets)) == (4, 2)
        assert not set(table.train_targets.tolist()) & set(table.test_targets.tolist())
        assert table.train_targets.dtype == torch.float64
        assert encoded(table).train_targets.dtype == torch.float32


def test_encoding_worked_by_head(write):
    """Columns: size, then 0 or 1 for every colour of the training rows in alphabetical order."""
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


def test_standardized_by_the_given_rows_alone(write):
    data = encoded(read(write(LINES), fold=2), rows=[0, 1, 3], standardize=True)
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


def test_validation_and_test_rows_cannot_change_the_encoding(write):
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


def test_columns_without_spread_or_values_in_the_training_rows(write):
    table = read(
        write("a,b,price\n1,,10\n2,3,20\n5,4,30\n1,,40\n1,,50\n7,5,60\n"),
        fold=2,
        drop=(),
    )
    assert table.fit(torch.tensor([0, 3]), standardize=True).constant == (
        "a",
        "b",
    )  # 1 and 1, missing in both
    standardized, raw = (
        encoded(table, [0, 3], standardize) for standardize in (True, False)
    )
    assert standardized.train_inputs.tolist() == [[0, 0]] * 4
    assert standardized.test_inputs.tolist() == [[0, 0]] * 2
    assert raw.train_inputs.tolist() == [[1, 0]] * 4
    assert raw.test_inputs.tolist() == [[1, 0]] * 2


def test_a_column_that_differs_by_rounding_alone_has_no_spread(write):
    columns = pd.DataFrame({"a": [0.3, 0.1 + 0.2, 1e5], "b": [1.0, 2.0, 3.0]})
    table = Table(columns, torch.arange(3).double(), columns, torch.arange(3).double())
    assert table.fit(torch.arange(2), standardize=True).constant == ("a",)
    assert encoded(table, [0, 1], standardize=True).train_inputs.tolist() == [
        [-1, 0],
        [1, 0],
        [3, 0],
    ]


def test_targets_that_float32_cannot_tell_apart_are_learned_as_differences(write):
    text = "a,seconds\n" + "".join(
        f"{number},{1_600_000_000 + 7 * number}\n" for number in range(8)
    )
    table = read(write(text), fold=0, num_folds=4, target="seconds", drop=())
    encoder = table.fit(torch.arange(6), standardize=True)
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


def test_an_encoding_of_one_table_encodes_another(write):
    table = read(write(LINES))
    encoder = table.fit(torch.arange(4), standardize=False)
    other = read(write(LINES.replace("green", "pink"), "other.csv"))
    assert (
        other.encode(encoder).train_inputs.shape
        == table.encode(encoder).train_inputs.shape
    )
    with pytest.raises(ValueError, match="size"):
        read(write(LINES.replace("size", "length"), "renamed.csv")).encode(encoder)


def test_classes(write):
    text = LINES.replace("4,4,,40", "4,4,red,40")
    table = read(write(text), target="colour", task="classification")
    assert table.class_names == ("blue", "green", "red")
    assert sorted(torch.cat([table.train_targets, table.test_targets]).tolist()) == [
        0,
        1,
        2,
        2,
        2,
        2,
    ]
    assert table.train_targets.dtype == torch.int64


def test_options(write):
    text = LINES.replace(",", ";").replace("4;4;;40", "4;-1;red;40")
    table = read(write(text), separator=";", missing=["-1"], categorical=["colour"])
    assert (
        table.train_columns["size"].isna().sum()
        + table.test_columns["size"].isna().sum()
        == 2
    )
    grouped = read(write(text), fold=2, separator=";", categorical=["colour", "size"])
    assert encoded(grouped, rows=[0, 1]).train_inputs.tolist()[0] == [
        1,
        0,
        0,
        1,
    ]  # sizes 1, 2; blue, red


def test_one_row_is_refused(write):
    with pytest.raises(ValueError, match=r"table.csv has 1 row, dataset.num_folds=3"):
        read(write("id,size,price\n1,2,3\n"))


def test_a_wrong_target_is_named_before_too_few_rows(write):
    with pytest.raises(
        ValueError, match=r"dataset.target must name a column of .*, got 'cost'"
    ):
        read(write("id,size,price\n1,2,3\n"), target="cost")


def test_columns_that_nobody_called_categories_are_told(write, capsys):
    read(write(LINES))
    assert (
        "table.csv: taken as categories: colour (4 values);" in capsys.readouterr().err
    )
    read(write(LINES, "named.csv"), categorical=["colour"])
    assert capsys.readouterr().err == ""


JH_COLUMNS = (
    "id,job,area,income,aspect,subscriptions,dist_healthy,save_rate,dist_unhealthy,age,pop_dense,retail_dense,crime,"
    "product"
)


def jh_row(n):
    income = "NA" if n == 3 else 50_000 + n
    numbers = f"{income},{n},{n % 5},{n / 7},{n % 6},{n},{40 + n},{n % 9},{n},{n / 3}"
    return f"{n},job{n % 6},{'abcd'[n % 4]},{numbers},{'bc'[n % 2]}"


JH = "\n".join([JH_COLUMNS, *(jh_row(n) for n in range(1, 21))])


def test_jh_simple(write, tmp_path):
    write(JH, "jh-simple-dataset.csv")
    table = jh_simple(str(tmp_path), "age", 0, 5, "regression")
    assert "id" not in table.train_columns
    assert sorted(
        torch.cat([table.train_targets, table.test_targets]).tolist()
    ) == list(range(41, 61))
    data = encoded(table)
    assert torch.isfinite(data.train_inputs).all()
    assert data.train_inputs.shape == (
        16,
        9 + 6 + 4 + 2,
    )  # numbers, jobs, areas, products
    product = jh_simple(str(tmp_path), "product", 0, 5, "classification")
    assert product.class_names == ("b", "c")
    assert encoded(product).train_inputs.shape == (16, 10 + 6 + 4)


def jh_lines(edit):
    return "\n".join(",".join(edit(line.split(","))) for line in JH.splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            jh_lines(lambda cells: [*cells[:3], *cells[4:12], cells[13]]),
            "it lacks income, crime",
        ),
        (
            jh_lines(lambda cells: [*cells, cells[0]]).replace(
                "product,id", "product,row"
            ),
            "it has row",
        ),
        (
            JH.replace(",dist_healthy", ",distance"),
            "it lacks dist_healthy and has distance",
        ),
        (
            JH.replace("50001", "much"),
            "column income must hold numbers, row 1 has 'much'",
        ),
        (
            jh_lines(
                lambda cells: [
                    *cells[:4],
                    cells[4] if cells[4] == "aspect" else "7",
                    *cells[5:],
                ]
            ),
            "aspect is 7.0 in",
        ),
        (JH.replace(",41,", ",old,"), "column age must hold numbers, row 1 has 'old'"),
    ],
)
def test_jh_simple_advises_nothing_that_it_has_no_option_for(write, text, message):
    with pytest.raises(ValueError, match=message) as told:
        jh_simple(write(text), "age", 0, 5, "regression")
    assert str(told.value).endswith("; take the file as published: " + JH_SIMPLE)
    assert not re.search(r"dataset\.(drop|missing|categorical|task)", str(told.value))


def test_jh_simple_checks_what_it_reads(write, tmp_path, monkeypatch, capsys):
    path = write(JH, "mine.csv")
    digest = hashlib.sha256(JH.encode()).hexdigest()
    assert (
        len(jh_simple(path, "age", 0, 5, "regression", sha256=digest).test_targets) == 4
    )
    with pytest.raises(
        ValueError, match=r"mine.csv must have the sha256 checksum 123, it has "
    ):
        jh_simple(path, "age", 0, 5, "regression", sha256="123")
    with pytest.raises(ValueError, match="got 'product' with regression"):
        jh_simple(path, "product", 0, 5, "regression")
    assert (
        capsys.readouterr().err
        == f"note: {path} has 20 rows, jh-simple-dataset.csv as published 2000\n"
    )
    monkeypatch.setattr("normlab.data.tabular.JH_SIMPLE", f"file://{path}")
    assert (
        len(jh_simple(str(tmp_path / "new"), "age", 0, 5, "regression").test_targets)
        == 4
    )
    assert (
        f"mine.csv; to keep to it, dataset.sha256={digest}" in capsys.readouterr().err
    )
    monkeypatch.setattr(
        "normlab.data.tabular.JH_SIMPLE", f"file://{tmp_path}/nothing/mine.csv"
    )
    with pytest.raises(
        ValueError,
        match=r"dataset.root=.*mine.csv must be the file .* downloading it failed",
    ):
        jh_simple(str(tmp_path / "newer"), "age", 0, 5, "regression")
