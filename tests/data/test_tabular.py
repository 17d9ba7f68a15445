import pytest
import torch

from normlab.data.tabular import diabetes
from normlab.data.transforms import TableTransform


def test_diabetes_in_its_own_units():
    data = diabetes(0, 5)
    assert data.train_inputs.shape == (353, 10)
    assert data.test_inputs.shape == (89, 10)
    everything = torch.cat([data.train_targets, data.test_targets])
    assert (everything.min().item(), everything.max().item()) == (25.0, 346.0)
    assert data.train_inputs[:, 0].min() == 19.0  # years


def test_every_patient_is_in_one_test_fold():
    tests = torch.cat([diabetes(fold, 5).test_targets for fold in range(5)])
    whole = torch.cat([diabetes(0, 5).train_targets, diabetes(0, 5).test_targets])
    assert torch.equal(tests.sort().values, whole.sort().values)


def test_a_fold_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dataset.fold must lie in 0\.\.4, got 5"):
        diabetes(5, 5)


def test_columns_are_standardized_by_the_training_part():
    train = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    transform = TableTransform.of(train, standardize=True)
    assert transform.evaluate(torch.tensor([[5.0, 8.0]])).tolist() == [[3.0, 1.0]]  # the second column is constant
    assert TableTransform.of(train, standardize=False).evaluate(train).tolist() == train.tolist()
