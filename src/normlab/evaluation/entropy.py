"""Scale and shift of norms, fitted to samples without their classes.

Wang et al., "Tent: Fully Test-Time Adaptation by Entropy Minimization", 2021,
arXiv 2006.10726.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from normlab.norms.conventions import scale_of, shift_of
from normlab.training.recalibration import has_averages

# Scales and shifts that some norms have in the place of these, or besides them.
FURTHER_NAMES = ("length", "group_weight", "group_bias")


class EntropyMinimizer(nn.Module):
    r"""A network whose norms learn from every batch that it is asked about.

    After each batch, one step of Adam on scale and shift lowers the mean entropy of the
    predictions,

    .. math:: H = -\frac{1}{N} \sum_n \sum_k p_{nk} \log p_{nk}

    with :math:`p`, ``(N, K)``: the probabilities of the classes. The outputs are those
    before the step, so that every batch is scored by what was learned from those before
    it. The network should normalize by the statistics of the batch, if it can.

    Args:
        network: changed in place; only `parameters` need gradients afterwards.
        parameters: scales and shifts.
        lr: learning rate of Adam.
    """

    def __init__(
        self, network: nn.Module, parameters: Iterable[nn.Parameter], lr: float
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.learned = list(parameters)
        for parameter in self.learned:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.learned, lr)
        self.eval()

    @torch.enable_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs ``(N, K)`` for a batch, and learn from it."""
        outputs: Tensor = self.network(inputs)
        mean_entropy(outputs).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return outputs.detach()


def mean_entropy(outputs: Tensor) -> Tensor:
    """Mean entropy in nats of the classes' probabilities, from logits ``(N, K)``."""
    logarithms = outputs.float().log_softmax(1)
    return -(logarithms.exp() * logarithms).sum(1).mean()


def scales_and_shifts(
    network: nn.Module, norm_layers: Mapping[str, nn.Module]
) -> list[nn.Parameter]:
    """The learned scales and shifts of all norms of a network.

    Args:
        network: norms that its model keeps from elsewhere count if they have running
            statistics.
        norm_layers: those of the run, by name.

    Raises:
        ValueError: there are none.
    """
    layers = list(norm_layers.values())
    for layer in network.modules():
        if has_averages(layer):
            layers.append(layer)
    found: dict[nn.Parameter, None] = {}
    finders: tuple[Callable[[nn.Module], Tensor | None], ...] = (scale_of, shift_of)
    for layer in layers:
        for find in finders:
            parameter = find(layer)
            if isinstance(parameter, nn.Parameter):
                found[parameter] = None
        for path, parameter in layer.named_parameters():
            if path.rpartition(".")[2] in FURTHER_NAMES:
                found[parameter] = None
    if not found:
        raise ValueError(
            "statistics must not be tent, since the norm of this run has no scale and "
            "no shift"
        )
    return list(found)
