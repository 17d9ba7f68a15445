import hashlib
import re

import pytest
import torch

from data.helpers import LINES, encoded, read
from normlab.data.tabular import JH_SIMPLE, csv, diabetes, jh_simple


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


def test_a_file_is_divided_into_folds(write):
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


def test_a_column_of_classes_as_target(write):
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


def test_separator_missing_and_categorical(write):
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


def test_columns_treated_as_categorical_are_noted(write, capsys):
    read(write(LINES))
    assert (
        "table.csv: treated as categorical: colour (4 values);"
        in capsys.readouterr().err
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
def test_jh_simple_advises_only_what_it_has_options_for(write, text, message):
    with pytest.raises(ValueError, match=message) as error:
        jh_simple(write(text), "age", 0, 5, "regression")
    assert str(error.value).endswith("; take the file as published: " + JH_SIMPLE)
    assert not re.search(r"dataset\.(drop|missing|categorical|task)", str(error.value))


def test_jh_simple_checks_its_file(write, tmp_path, monkeypatch, capsys):
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
        "mine.csv; to make sure that later runs read the same file, "
        f"set dataset.sha256={digest}\n" in capsys.readouterr().err
    )
    monkeypatch.setattr(
        "normlab.data.tabular.JH_SIMPLE", f"file://{tmp_path}/nothing/mine.csv"
    )
    with pytest.raises(
        ValueError,
        match=r"dataset.root=.*mine.csv must be the file .* downloading it failed",
    ):
        jh_simple(str(tmp_path / "newer"), "age", 0, 5, "regression")


def test_a_second_file_is_the_test_part(write):
    train = write("size,colour,price\n1,red,10\n2,blue,20\n3,red,30\n", "train.csv")
    test = write("price,size,colour,id\n40,4,green,7\n50,?,red,8\n", "test.csv")
    data = csv(train, "price", 0, 5, test_path=test)
    assert data.train_targets.tolist() == [10, 20, 30]
    assert data.test_targets.tolist() == [40, 50]
    assert data.test_columns["colour"].tolist() == ["green", "red"]
    encoded = data.encode(data.fit(torch.arange(3)))
    # The missing size is the median of training, and green is no category there.
    assert encoded.test_inputs.tolist() == [[4, 0, 0], [2, 0, 1]]


def test_groups_that_are_in_both_files_are_named(write, capsys):
    train = write("patient,size,price\n7,1,10\n8,2,20\n9,3,30\n", "train.csv")
    test = write("patient,size,price\n7.0,4,40\n10,5,50\n", "test.csv")
    data = csv(train, "price", 0, 5, test_path=test, groups="patient")
    assert data.train_groups.tolist() == ["7", "8", "9"]
    note = f"these groups of dataset.test_path={test} also have rows for training: 7\n"
    assert note in capsys.readouterr().err


def test_classes_of_both_files_have_one_numbering(write):
    train = write("a,b\n1,x\n2,z\n", "train.csv")
    test = write("a,b\n1,y\n2,z\n", "test.csv")
    data = csv(train, "b", 0, 5, "classification", test_path=test)
    assert data.class_names == ("x", "y", "z")
    assert data.test_targets.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "fold", "message"),
    [
        ("size,cost\n1,2\n", 0, "must have the columns of .*train.csv, it lacks price"),
        ("size,price\n1,x\n", 0, r"row 1 of .*test.csv has 'x'"),
        ("size,price\n1,\n", 0, r"column price is empty in row 1 of .*test.csv"),
        ("size,price\n1,2\n", 1, "dataset.fold must be 0 with dataset.test_path"),
    ],
)
def test_a_second_file_that_does_not_fit_is_refused(write, text, fold, message):
    train = write("size,price\n1,10\n2,20\n", "train.csv")
    test = write(text, "test.csv")
    with pytest.raises(ValueError, match=message):
        csv(train, "price", fold, 5, test_path=test)


@pytest.mark.parametrize(
    ("transform", "task", "message"),
    [
        ("log", "regression", "target b must be above 0 for .*=log, row 2 .*has 0"),
        ("sqrt", "regression", "must be null or one of log, log1p, got 'sqrt'"),
        ("log", "classification", "must be null for a classification, got 'log'"),
    ],
)
def test_targets_without_a_logarithm_are_refused(write, transform, task, message):
    path = write("a,b\n1,1\n2,0\n3,4\n4,8\n")
    for fold in range(2):
        with pytest.raises(ValueError, match=message):
            csv(path, "b", fold, 2, task, target_transform=transform)
    assert csv(path, "b", 0, 2, target_transform="log1p").train_targets.min() >= 0
