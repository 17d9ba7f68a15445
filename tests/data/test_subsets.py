"""Low-data studies: a draw of the training part, in proportion and the same for all."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from normlab.config.identity import digest
from normlab.data.parts import load_parts
from normlab.data.subsets import training_subset

CLASSES = torch.tensor([0] * 60 + [1] * 30 + [2] * 9 + [3])
ROWS = torch.arange(100) * 3 + 5  # of other stored samples, some are not in the part


def draw(size, seed=0, targets=CLASSES, task="classification"):
    config = {"seed": seed, "dataset": {"train_size": size, "task": task}}
    rows = training_subset(ROWS, targets, config)
    return rows, targets[(rows - 5) // 3]


@pytest.mark.parametrize("seed", range(3))
def test_the_classes_of_a_draw_are_in_proportion(seed):
    for size in (4, 10, 37, 99, 100):
        rows, classes = draw(size, seed)
        counts = np.bincount(classes, minlength=4)
        exact = np.array([60, 30, 9, 1]) * size / 100
        assert len(rows) == counts.sum() == size
        assert (counts >= 1).all()
        # Small classes are rounded up, which takes from the others.
        assert (np.abs(counts - exact) < 2.01).all()
    assert np.bincount(draw(0.5, seed)[1]).tolist() == [29, 15, 5, 1]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_smaller_draw_is_part_of_a_larger_one(task):
    targets = CLASSES if task == "classification" else CLASSES / 2
    drawn = [set(draw(size, 1, targets, task)[0].tolist()) for size in (5, 20, 0.7)]
    assert [len(one) for one in drawn] == [5, 20, 70]
    assert drawn[0] < drawn[1] < drawn[2] < set(ROWS.tolist())


def test_a_draw_is_sorted_and_depends_on_the_seed_alone():
    state = np.random.default_rng(0)
    torch.manual_seed(int(state.integers(100)))
    first, _ = draw(20, 3)
    assert first.tolist() == sorted(draw(20, 3)[0].tolist())
    assert draw(20, 4)[0].tolist() != first.tolist()


@pytest.mark.parametrize(
    ("size", "task", "message"),
    [
        (101, "classification", r"must lie in 4\.\.100 .*, got 101, that is 101"),
        (3, "classification", "a sample of every class"),
        (0.01, "classification", "got 0.01, that is 1"),
        (0.001, "regression", r"must lie in 2\.\.100 .*, got 0.001, that is 0"),
    ],
)
def test_sizes_that_the_training_part_does_not_have_are_refused(size, task, message):
    with pytest.raises(ValueError, match=f"dataset.train_size .*{message}"):
        draw(size, task=task)


def test_runs_of_a_seed_share_the_draw_and_validate_on_what_they_did(compose):
    def parts(*overrides):
        config = OmegaConf.to_container(compose(*overrides), resolve=True)
        return load_parts(config, 8)

    whole = parts("seed=5")
    few = [
        parts("seed=5", "dataset.train_size=40", f"norm={norm}")
        for norm in ("none", "layer")
    ]
    assert torch.equal(few[0].train.rows, few[1].train.rows)
    assert len(few[0].train) == 40
    assert set(few[0].train.rows.tolist()) < set(whole.train.rows.tolist())
    assert torch.equal(few[0].validation.rows, whole.validation.rows)
    # Its pixels are normalized by the few images alone.
    assert few[0].train.transform.mean != whole.train.transform.mean
    assert few[0].validation.transform.mean == few[0].train.transform.mean


def test_the_size_is_part_of_the_digest(compose):
    def of(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    for dataset in ("digits", "diabetes"):
        plain = of(f"dataset={dataset}")
        name = digest(plain)
        del plain["dataset"]["train_size"]
        assert digest(plain) == name
        assert digest(of(f"dataset={dataset}", "dataset.train_size=100")) != name
