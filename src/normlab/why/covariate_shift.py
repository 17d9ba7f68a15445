"""Internal covariate shift, as a change of gradients.

Santurkar, Tsipras, Ilyas and Madry, "How does batch normalization help optimization?",
2018, arXiv 1805.11604, definition 2.1 and figure 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from normlab.evaluation.batch_loss import BatchLoss, chosen, difference, dot, length
from normlab.evaluation.weight_layers import WeightLayer


@dataclass(frozen=True)
class Shift:
    """How much the update of the layers before one layer changes its gradient.

    Attributes:
        layer: name of the layer.
        gradient_norm: length of its gradient before they are updated.
        difference: length of the difference of both gradients; ideally 0.
        cosine: cosine of the angle between both gradients; ideally 1, NaN if one of
            them vanishes.
    """

    layer: str
    gradient_norm: float
    difference: float
    cosine: float


def covariate_shift(
    batch_loss: BatchLoss,
    layers: Sequence[WeightLayer],
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
) -> list[Shift]:
    r"""Measure the internal covariate shift of one step of training.

    .. math::

        \lVert G_i - G'_i \rVert, \qquad
        G_i = \nabla_{W_i} L(W_1, \dots, W_k), \qquad
        G'_i = \nabla_{W_i} L(W'_1, \dots, W'_{i-1}, W_i, \dots, W_k)

    - :math:`W_i`: the parameters of layer i before the step.
    - :math:`W'_i`: its parameters after the step.
    - :math:`L`: the loss on the batch from which the step is made.

    Parameters of norms belong to what precedes the next layer; gradients are compared
    over the weights and the bias of layer i alone, so that networks with and without a
    norm are comparable.

    Args:
        batch_loss: L.
        layers: the layers i.
        before: all trained parameters before the step.
        after: all trained parameters after it.
    """
    _, all_old = batch_loss.gradient(before)
    shifts = []
    for layer in layers:
        mixed = {**before, **chosen(after, layer.preceding)}
        _, new = batch_loss.gradient(mixed, layer.parameters)
        own = chosen(all_old, layer.parameters)
        lengths = length(own) * length(new)
        shifts.append(
            Shift(
                layer=layer.name,
                gradient_norm=length(own),
                difference=length(difference(new, own)),
                cosine=dot(own, new) / lengths if lengths > 0 else float("nan"),
            )
        )
    return shifts


def spread_out(layers: Sequence[WeightLayer], most: int) -> list[WeightLayer]:
    """At most `most` layers that others precede, evenly over the depth."""
    later = [layer for layer in layers if layer.preceding]
    if len(later) <= most:
        return later
    places = np.linspace(0, len(later) - 1, most).round().astype(int)
    return [later[place] for place in places]
