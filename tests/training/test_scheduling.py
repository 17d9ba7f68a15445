"""When schedulers step; the rates that follow are in test_warmup.py."""

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from normlab.training.scheduling import (
    step_after_batch,
    step_after_epoch,
    steps_within_epochs,
)
from normlab.training.warmup import Warmup


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)


def rate(optimizer):
    return optimizer.param_groups[0]["lr"]


def not_needed():
    raise AssertionError("the loss was asked for")


def test_a_constant_rate_has_nothing_to_step(optimizer):
    step_after_batch(None, "step")
    step_after_epoch(None, "plateau", not_needed)
    assert rate(optimizer) == 0.8


def test_the_interval_says_when_the_rate_changes(optimizer):
    scheduler = ExponentialLR(optimizer, gamma=0.5)
    optimizer.step()  # schedulers warn if they step first
    step_after_batch(scheduler, "epoch")
    step_after_epoch(scheduler, "step", not_needed)
    assert rate(optimizer) == 0.8
    step_after_batch(scheduler, "step")
    assert rate(optimizer) == 0.4
    step_after_epoch(scheduler, "epoch", not_needed)
    assert rate(optimizer) == 0.2


def test_a_plateau_is_found_by_the_loss_of_the_epoch(optimizer):
    scheduler = ReduceLROnPlateau(optimizer, factor=0.25, patience=0)
    step_after_batch(scheduler, "plateau")
    step_after_epoch(scheduler, "plateau", lambda: 1.0)
    assert rate(optimizer) == 0.8
    step_after_epoch(scheduler, "plateau", lambda: 1.5)
    assert rate(optimizer) == pytest.approx(0.2)


@pytest.mark.parametrize("interval", ["step", "epoch", "plateau"])
def test_a_warm_up_counts_steps_whatever_the_interval(optimizer, interval):
    warmup = Warmup(optimizer, None, num_steps=4)
    assert rate(optimizer) == pytest.approx(0.2)
    step_after_batch(warmup, interval)
    assert rate(optimizer) == pytest.approx(0.4)
    step_after_epoch(warmup, interval, lambda: 1.0)
    assert rate(optimizer) == pytest.approx(0.4)


def test_schedules_that_move_from_step_to_step_are_known(optimizer):
    scheduler = ExponentialLR(optimizer, 0.5)
    assert not steps_within_epochs(None, "step")
    assert not steps_within_epochs(scheduler, "epoch")
    assert steps_within_epochs(scheduler, "step")
    assert steps_within_epochs(Warmup(optimizer, None, 3), "epoch")
