import math

import pytest
import torch
from torch import nn

from normlab.norms import BatchNorm, MovingAverageBatchNorm
from normlab.training.running_statistics import initial_share, statistics_note

BAD = {"train/loss": 0.5, "val/loss": 497.0}


def trained(norm, num_batches):
    for _ in range(num_batches):
        norm(torch.randn(4, 3))
    return norm


@pytest.mark.parametrize("make", [BatchNorm, nn.BatchNorm1d])
def test_the_share_of_initial_values_falls_with_every_batch(make):
    norm = (
        make(3, momentum=0.25) if make is nn.BatchNorm1d else make(3, 1, momentum=0.25)
    )
    assert initial_share(trained(norm, 2)) == 0.75**2
    # Whatever the batches were, this is how far the average still is from them.
    with torch.no_grad():
        norm.running_mean.fill_(1.0)
    for _ in range(3):
        norm(torch.zeros(4, 3))
    assert norm.running_mean[0] == pytest.approx(0.75**3)


def test_a_running_mean_square_has_a_share_as_well():
    layer = MovingAverageBatchNorm(1, 1)
    for _ in range(50):
        layer(torch.tensor([[1.0], [3.0]]))
    assert initial_share(layer) == pytest.approx(0.98**50)


def test_norms_without_initial_values_have_no_share():
    assert initial_share(nn.Linear(3, 3)) == 0
    assert initial_share(trained(BatchNorm(3, 1, momentum=None), 1)) == 0
    assert initial_share(trained(BatchNorm(3, 1, track_running_stats=False), 1)) == 0
    assert initial_share(trained(BatchNorm(3, 1), 2).eval()) == 0  # it is frozen
    assert initial_share(BatchNorm(3, 1)) == 0  # it was never called


def test_the_note_names_what_explains_the_loss():
    network = nn.Sequential(trained(BatchNorm(3, 1), 18), trained(BatchNorm(3, 1), 20))
    assert statistics_note(network, BAD) == (
        "note: val/loss 497 is far above train/loss 0.5: validation normalizes by "
        "running statistics, which in 2 norms are 15% initial values after 18 batches "
        "at momentum 0.1; this share falls with every step"
    )


@pytest.mark.parametrize("validation", [0.6, 1.0, math.nan])
def test_losses_that_are_alike_need_no_note(validation):
    network = trained(BatchNorm(3, 1), 18)
    losses = {"train/loss": 0.5, "val/loss": validation}
    assert statistics_note(network, losses) is None


def test_after_many_batches_the_loss_has_another_reason():
    assert statistics_note(trained(BatchNorm(3, 1), 50), BAD) is None
    assert statistics_note(nn.Linear(3, 3), BAD) is None
