"""Samples of one group stay together, in folds and in validation."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from normlab.data.group_splits import group_fold_indices, group_validation_indices
from normlab.data.parts import load_parts
from normlab.data.tabular import csv

GROUPS = np.repeat([f"patient {number}" for number in range(12)], 4)
CLASSES = np.tile(np.repeat([0, 1], 4), 6)  # of one class each


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("targets", [CLASSES, CLASSES.astype(float)])
def test_a_group_is_in_one_test_part(targets):
    tested = []
    for fold in range(4):
        train, test = group_fold_indices(GROUPS, targets, 4, fold, generator())
        assert not set(GROUPS[train]) & set(GROUPS[test])
        assert sorted([*train, *test]) == list(range(48))
        tested += list(test)
    assert sorted(tested) == list(range(48))


def test_folds_have_the_classes_in_proportion():
    for fold in range(6):
        _, test = group_fold_indices(GROUPS, CLASSES, 6, fold, generator())
        assert np.bincount(CLASSES[test]).tolist() == [4, 4]


@pytest.mark.parametrize("method", ["random", "stratified"])
def test_a_group_trains_or_validates(method):
    arguments = (GROUPS, CLASSES, 0.25, method)
    train, validation = group_validation_indices(*arguments, generator())
    assert not set(GROUPS[train]) & set(GROUPS[validation])
    assert len(set(GROUPS[validation])) == 3
    assert sorted([*train, *validation]) == list(range(48))
    again = group_validation_indices(*arguments, generator())
    assert again[1].tolist() == validation.tolist()
    other = group_validation_indices(*arguments, generator(1))
    assert other[1].tolist() != validation.tolist()


@pytest.mark.parametrize(
    ("groups", "method", "message"),
    [
        (
            GROUPS,
            "tail",
            "must be random or stratified with dataset.groups, got 'tail'",
        ),
        (GROUPS[:4], "random", "must have two groups at least.* it has 1"),
    ],
)
def test_impossible_validations_are_refused(groups, method, message):
    targets = CLASSES[: len(groups)]
    with pytest.raises(ValueError, match=message):
        group_validation_indices(groups, targets, 0.2, method, generator())


def test_more_folds_than_groups_are_refused():
    with pytest.raises(ValueError, match=r"2..12 \(the number of groups\), got 13"):
        group_fold_indices(GROUPS, CLASSES, 13, 0, generator())


@pytest.fixture
def table(tmp_path):
    """A table in which the price is ten times the size, and a patient has four rows."""
    lines = ["patient,size,price"]
    for row, group in enumerate(GROUPS):
        lines.append(f"{group},{row},{10 * row}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_groups_of_a_table_are_no_input(table):
    data = csv(table, "price", 1, 3, groups="patient")
    assert list(data.train_columns) == ["size"]
    assert len(set(data.train_groups)) == 8
    tested = set(GROUPS[data.test_columns["size"].astype(int)])
    assert not tested & set(data.train_groups)


def test_parts_of_a_run_share_no_group(table, compose):
    words = ["dataset=csv", f"dataset.root={table}", "dataset.target=price"]
    config = compose(*words, "dataset.groups=patient", "dataset.validation=0.25")
    parts = load_parts(OmegaConf.to_container(config, resolve=True), None)
    groups = []
    for part in (parts.train, parts.validation, parts.test):
        rows = (part.targets[part.rows] / 10).long()
        groups.append(set(GROUPS[rows]))
    assert sum(map(len, groups)) == len(set.union(*groups)) == 12


def test_numbers_of_one_value_are_one_group(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_text("patient,size,price\n7,1,10\n7.0,2,20\n8,3,30\n8.00,4,40\n")
    tested = []
    for fold in range(2):
        data = csv(str(path), "price", fold, 2, groups="patient")
        tested.append(data.test_targets.tolist())
    assert sorted(tested) == [[10, 20], [30, 40]]
    assert f"{path}: 7, 7.0 are taken for one group\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("patien", "dataset.groups must name a column .*did you mean 'patient'"),
        ("price", "dataset.groups must not name the target"),
    ],
)
def test_a_wrong_column_of_groups_is_refused(table, groups, message):
    with pytest.raises(ValueError, match=message):
        csv(table, "price", 0, 3, groups=groups)


def test_every_row_must_have_a_group(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("g,a,b\nx,1,2\n,2,3\ny,3,5\n")
    with pytest.raises(ValueError, match="column g is empty in row 2"):
        csv(str(path), "b", 0, 2, groups="g")
