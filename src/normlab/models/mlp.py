"""Multilayer perceptron."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from normlab.models.blocks import Norm, norm_and_activation


class MLP(nn.Module):
    """Linear layers, each followed by norm, activation and dropout, and a linear output.

    Args:
        input_shape: of a sample; anything is flattened.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(width, 1)`` once for every hidden layer.
        hidden: widths of the hidden layers.
        activation: see `normlab.models.blocks.ACTIVATIONS`.
        dropout: probability, after every activation.
        bias: of the hidden layers; redundant before a centring norm, so the same for every norm.
        norm_input: a norm on the flattened input, too.
    """

    min_image_size = None

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        hidden: Sequence[int] = (128, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        bias: bool = True,
        norm_input: bool = False,
    ) -> None:
        super().__init__()
        width = math.prod(input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        if norm_input:
            layers.append(norm(width, 1))
        for next_width in hidden:
            layers += [nn.Linear(width, next_width, bias), *norm_and_activation(norm, next_width, 1, activation)]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(N, ...)`` to ``(N, num_outputs)``."""
        return self.layers(inputs)
