"""Networks that need more than their file accounts for are refused unbuilt."""

import pytest
import torch
from torch import nn

from normlab.predict.bounds import _check_state, _check_work, samples_per_batch


def test_a_network_that_works_for_hours_is_refused():
    quick = nn.Conv2d(1, 4, 3, device="meta")
    _check_work(quick, (1, 8, 8))
    slow = nn.Conv2d(256, 256, 31, padding=15, device="meta")
    with pytest.raises(ValueError, match=r"at most 1e\+13 operations.* needs 1e\+14"):
        _check_work(slow, (256, 1024, 1024))


def test_a_network_that_fills_the_memory_is_refused():
    wide = nn.Conv2d(1, 2**10, 1, device="meta")
    with pytest.raises(ValueError, match=f"this network needs .* {2**30}"):
        _check_work(wide, (1, 1024, 1024))


def test_a_network_that_cannot_take_the_samples_is_refused():
    with pytest.raises(ValueError, match="cannot take samples of 3 x 4: "):
        _check_work(nn.Linear(5, 2, device="meta"), (3, 4))


def test_a_state_has_no_more_values_than_its_file_has_bytes():
    state = {"weight": torch.zeros(1).expand(1000)}
    _check_state(state, 1000)
    with pytest.raises(ValueError, match="larger than the file"):
        _check_state(state, 999)
    with pytest.raises(ValueError, match="tensors of a network by name"):
        _check_state({"weight": 1}, 999)


def test_batches_shrink_as_samples_and_predictions_grow():
    assert samples_per_batch(10, 10) == 256
    assert samples_per_batch(2**20, 2**20) == 4
    assert samples_per_batch(2**26, 1) == 1
