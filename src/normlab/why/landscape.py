"""The loss and its gradient along the direction of the gradient.

Santurkar, Tsipras, Ilyas and Madry, "How does batch normalization help optimization?",
2018, arXiv 1805.11604, figure 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from normlab.evaluation.batch_loss import BatchLoss, difference, length, moved

# How far to go, in lengths of the step that training makes. The paper goes from 1/2 to
# 4 times the learning rate.
MULTIPLES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class Landscape:
    r"""What is met on a walk against the gradient.

    At the distance :math:`d` stands
    :math:`\theta_d = \theta - d \, g / \lVert g \rVert` with
    :math:`g = \nabla L(\theta)`.

    Attributes:
        loss: the loss at the start.
        gradient_norm: length of the gradient at the start.
        distances: ``(D,)``, lengths in the space of the parameters.
        losses: ``(D,)``, :math:`L(\theta_d)`.
        gradient_changes: ``(D,)``, :math:`\lVert \nabla L(\theta_d) - g \rVert`: how
            far the gradient at the start predicts later ones ("gradient
            predictiveness").
    """

    loss: float
    gradient_norm: float
    distances: np.ndarray
    losses: np.ndarray
    gradient_changes: np.ndarray

    @property
    def smoothness(self) -> float:
        r"""The effective :math:`\beta`: the largest change of the gradient by distance.

        :math:`\max_d \lVert \nabla L(\theta_d) - g \rVert / d`
        """
        return float((self.gradient_changes / self.distances).max())


def walk_along_gradient(
    batch_loss: BatchLoss,
    parameters: Mapping[str, Tensor],
    distances: Sequence[float],
) -> Landscape:
    """Measure the loss and its gradient on a walk against the gradient.

    Args:
        batch_loss: the loss on the batch from which training makes a step.
        parameters: the start.
        distances: above 0.

    Raises:
        ValueError: a distance is not above 0, or the gradient vanishes or is not
            finite and has no direction.
    """
    if not distances or min(distances) <= 0:
        raise ValueError(f"distances must be above 0, got {list(distances)}")
    loss, gradient = batch_loss.gradient(parameters)
    norm = length(gradient)
    if not 0 < norm < float("inf"):
        raise ValueError(f"the gradient must have a direction, its length is {norm}")

    losses = []
    changes = []
    for distance in distances:
        place = moved(parameters, gradient, -distance / norm)
        loss_there, gradient_there = batch_loss.gradient(place)
        losses.append(loss_there)
        changes.append(length(difference(gradient_there, gradient)))
    return Landscape(
        loss=loss,
        gradient_norm=norm,
        distances=np.array(distances),
        losses=np.array(losses),
        gradient_changes=np.array(changes),
    )
