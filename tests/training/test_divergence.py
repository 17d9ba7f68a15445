"""In a run of one process; tests/training/test_processes.py has several."""

import math

import pytest
import torch

from normlab.endings import Diverged
from normlab.training.divergence import check_finite


def test_finite_losses_pass_and_stay_as_they_are():
    losses = torch.tensor([0.5, 1e30])
    check_finite(losses, 3, None)
    assert losses.tolist() == [0.5, pytest.approx(1e30)]


def test_finite_losses_pass_if_their_sum_is_too_large():
    check_finite(torch.tensor([3e38, 3e38]), 3, None)


def test_infinite_losses_of_both_signs_end_the_run():
    with pytest.raises(Diverged, match="became inf at step 4"):
        check_finite(torch.tensor([math.inf, -math.inf]), 3, None)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_ends_the_run(number):
    losses = torch.tensor([0.5, 0.25, number, math.nan])
    with pytest.raises(Diverged, match=f"became {number} at step 13") as ended:
        check_finite(losses, 10, torch.tensor(4.0))
    assert ended.value.step == 13
    assert ended.value.last_loss == 0.25


@pytest.mark.parametrize(
    ("before", "expected"), [(torch.tensor(4.0), 4.0), (None, None)]
)
def test_the_loss_before_the_first_step_is_that_of_the_block_before(before, expected):
    with pytest.raises(Diverged) as ended:
        check_finite(torch.tensor([math.nan]), 7, before)
    assert ended.value.step == 8
    assert ended.value.last_loss == expected
