"""On a quadratic loss everything along the gradient is known exactly."""

import pytest
import torch
from torch import nn

from normlab.evaluation.batch_loss import BatchLoss
from normlab.why.landscape import walk_along_gradient


def quadratic(*eigenvalues):
    """The loss 1/2 sum(e_i w_i^2), as squared errors of a linear layer."""
    count = len(eigenvalues)
    inputs = torch.diag(torch.tensor(eigenvalues).sqrt())
    network = nn.Linear(count, 1, bias=False)

    def loss(predictions, targets):
        return 0.5 * predictions.square().sum()

    return BatchLoss(network, loss, inputs, torch.zeros(count))


def test_a_walk_in_one_dimension():
    # L = 3/2 w^2: at w = 2 the loss is 6 and the gradient 6; at 1 they are 1.5 and 3.
    walk = walk_along_gradient(
        quadratic(3.0), {"weight": torch.tensor([[2.0]])}, [1.0, 2.0]
    )
    assert (walk.loss, walk.gradient_norm) == pytest.approx((6.0, 6.0))
    assert walk.losses.tolist() == pytest.approx([1.5, 0.0])
    assert walk.gradient_changes.tolist() == pytest.approx([3.0, 6.0])
    assert walk.smoothness == pytest.approx(3.0)


def test_the_smoothness_of_a_quadratic_does_not_depend_on_the_distance():
    # With H = diag(1, 4) at (1, 1): g = (1, 4), H g = (1, 16).
    weights = {"weight": torch.tensor([[1.0, 1.0]])}
    expected = (257 / 17) ** 0.5
    for distances in ([0.1], [0.5, 1.0, 4.0]):
        walk = walk_along_gradient(quadratic(1.0, 4.0), weights, distances)
        assert walk.smoothness == pytest.approx(expected, rel=1e-5)


def test_smoothness_is_the_largest_ratio_of_all_distances():
    # L = |w|^3 / 3: the gradient is w^2, from 4 at 2 to 1 at 1 and 0 at 0.
    network = nn.Linear(1, 1, bias=False)

    def loss(predictions, targets):
        return predictions.abs().pow(3).sum() / 3

    batch_loss = BatchLoss(network, loss, torch.ones(1, 1), torch.zeros(1))
    walk = walk_along_gradient(
        batch_loss, {"weight": torch.tensor([[2.0]])}, [1.0, 2.0]
    )
    assert walk.gradient_changes.tolist() == pytest.approx([3.0, 4.0])
    assert walk.smoothness == pytest.approx(3.0)


def test_a_walk_needs_a_direction_and_distances():
    with pytest.raises(ValueError, match="the gradient must have a direction"):
        walk_along_gradient(quadratic(1.0), {"weight": torch.zeros(1, 1)}, [1.0])
    with pytest.raises(ValueError, match="distances must be above 0"):
        walk_along_gradient(quadratic(1.0), {"weight": torch.ones(1, 1)}, [0.0])
