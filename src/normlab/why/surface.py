"""The loss on a plane through a trained network.

Li, Xu, Taylor, Studer and Goldstein, "Visualizing the loss landscape of neural nets",
2018, arXiv 1712.09913, section 4.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from normlab.evaluation.batch_loss import BatchLoss, Vector, moved
from normlab.evaluation.statistics import batch_statistics_where_kept


def filter_normalized_direction(
    parameters: Mapping[str, Tensor], names: Sequence[str], generator: torch.Generator
) -> Vector:
    r"""Draw a random direction in which every filter is as long as the network's own.

    .. math:: d_{ij} \leftarrow
        \frac{d_{ij}}{\lVert d_{ij} \rVert} \lVert \theta_{ij} \rVert

    - :math:`d_{ij}`: filter j of layer i of the direction, drawn from N(0, 1): the
      weights of one output.
    - :math:`\theta_{ij}`: the same filter of the network.

    Biases, and scales and shifts of norms, have no direction, as in the authors'
    experiments.

    Args:
        parameters: the parameters of the network by name.
        names: the weights, with the outputs on their first axis. Networks whose weights
            have the same shapes get the same draws.
        generator: source of the draws, on the CPU.
    """
    direction = {}
    for name in names:
        value = parameters[name]
        drawn = torch.randn(value.shape, generator=generator).to(value)
        axes = tuple(range(1, value.ndim))
        norms = torch.linalg.vector_norm(value, dim=axes, keepdim=True)
        drawn_norms = torch.linalg.vector_norm(drawn, dim=axes, keepdim=True)
        direction[name] = drawn * (norms / drawn_norms)
    return direction


@torch.no_grad()
def loss_surface(
    batch_loss: BatchLoss,
    parameters: Mapping[str, Tensor],
    directions: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    positions: Sequence[float],
) -> np.ndarray:
    r"""The loss at :math:`\theta + a d_1 + b d_2` for all pairs of positions.

    The network is in evaluation mode. Norms that average statistics over batches use
    the statistics of the samples that are scored, anew at every point: the running
    statistics of the centre belong to its weights, and would show a cliff around it
    that training never meets.

    Args:
        batch_loss: the loss on the samples. Its network is returned in the mode that
            it had.
        parameters: the centre.
        directions: :math:`d_1` and :math:`d_2`.
        positions: P values of a and b.

    Returns:
        ``(P, P)``; the row is b, the column is a.
    """
    network = batch_loss.network
    training = network.training
    network.eval()
    rows = []
    try:
        with batch_statistics_where_kept(network):
            for second in positions:
                row_start = moved(parameters, directions[1], second)
                row = [
                    float(batch_loss.loss_of(moved(row_start, directions[0], first)))
                    for first in positions
                ]
                rows.append(row)
    finally:
        network.train(training)
    return np.array(rows)
