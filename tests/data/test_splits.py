import numpy as np
import pytest

from normlab.data.splits import fold_indices, train_validation_indices

TARGETS = np.array([0] * 8 + [1] * 4)


def split(method, fraction=0.25, seed=0, targets=TARGETS):
    return train_validation_indices(
        targets, fraction, method, np.random.default_rng(seed)
    )


@pytest.mark.parametrize("method", ["stratified", "random", "tail"])
def test_parts_are_sorted_disjoint_and_complete(method):
    train, validation = split(method)
    assert (len(train), len(validation)) == (9, 3)
    assert sorted([*train, *validation]) == list(range(12))
    assert list(train) == sorted(train)


def test_tail_takes_the_last_samples():
    assert split("tail")[1].tolist() == [9, 10, 11]


def test_tail_is_the_notebooks_split():
    train, validation = split("tail", 0.2, targets=np.zeros(60_000))
    assert (train[-1], validation[0], len(validation)) == (47_999, 48_000, 12_000)


def test_stratified_keeps_the_proportions():
    assert np.bincount(TARGETS[split("stratified")[1]]).tolist() == [2, 1]


@pytest.mark.parametrize("method", ["stratified", "random"])
def test_the_split_depends_on_the_generator(method):
    assert split(method, seed=1)[1].tolist() == split(method, seed=1)[1].tolist()
    assert len({tuple(split(method, seed=seed)[1]) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "first"}, "must be stratified, random or tail, got 'first'"),
        ({"method": "random", "fraction": 0.01}, "leaves an empty part"),
        (
            {"method": "stratified", "targets": np.array([0] * 9 + [1])},
            "class 1 has 1; use dataset.split=random",
        ),
        (
            {"method": "stratified", "targets": np.arange(12) // 2},
            "cannot hold all 6 classes",
        ),
        (
            {"method": "stratified", "targets": np.arange(12) / 8},
            r"two samples of every number .*, number 0\.0 has 1;",
        ),
        (
            {"method": "stratified", "targets": np.arange(12) // 2 / 2},
            "cannot hold all 6 numbers",
        ),
    ],
)
def test_impossible_splits_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        split(**arguments)


def test_every_sample_is_in_one_test_fold():
    folds = [fold_indices(10, 5, fold, np.random.default_rng(0)) for fold in range(5)]
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(
        range(10)
    )
    assert all(not set(train) & set(test) for train, test in folds)


def test_a_fold_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.4, got 5"):
        fold_indices(10, 5, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"dataset.num_folds must lie in 2\.\.3"):
        fold_indices(3, 4, 0, np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"dataset.fold must lie in 0\.\.4, got 'last'"
    ):
        fold_indices(10, 5, "last", np.random.default_rng(0))
