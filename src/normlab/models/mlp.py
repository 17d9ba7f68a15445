"""A multilayer perceptron."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from normlab.models.blocks import Norm, hidden_layers, widths


class MLP(nn.Module):
    """Linear layers, each but the last followed by norm, activation and dropout.

        h_0 = x, or norm(x) with `norm_input`
        h_i = dropout(activation(norm(W_i h_(i-1) + b_i)))        for i = 1, ..., k
        y = W h_k + b

    Inputs ``(N, *input_shape)`` are flattened to ``(N, F)``. Outputs are
    ``(N, num_outputs)``.

    Args:
        input_shape: ``(F,)``, or ``(C, H, W)`` for images.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 1)``.
        hidden: widths of the hidden layers. An empty list makes a linear model.
        activation: name of the activation.
        dropout: probability of zeroing a feature after each activation.
        bias: whether the hidden layers have biases, which a norm that subtracts the
            mean makes redundant. The output layer always has one.
        norm_input: whether to normalize the inputs as well. With batch norm this
            takes the place of standardized features.

    Raises:
        ValueError: a width below 1, or an unknown activation.
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
        num_features = prod(input_shape)
        sizes = [num_features, *widths("model.hidden", hidden)]
        self.norm_input = norm(num_features, 1) if norm_input else nn.Identity()
        self.hidden = hidden_layers(sizes, norm, activation, dropout, bias)
        self.output = nn.Linear(sizes[-1], num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.norm_input(x.flatten(1))))
