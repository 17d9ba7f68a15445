"""LSTM with recurrent batch norm (Cooijmans et al., 2017, arXiv 1603.09025), or any other norm, over images."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from normlab.models.biases import fixed_bias
from normlab.models.blocks import choose, image_shape, refuse_activation, widths

BATCH_GAMMA = (
    0.1  # at 1 the tanh saturates and gradients vanish (section 4 of the paper)
)

Norm = Callable[[int, int], nn.Module]


class RecurrentNetwork(nn.Module):
    """An image read as a sequence of its rows or pixels by an LSTM, whose last state a linear layer classifies.

    Inputs ``(N, C, H, W)`` become ``(N, T, F)``: T = H rows of F = C W values, or T = H W pixels of F = C values.
    Outputs are ``(N, num_outputs)``. Weights start as in `torch.nn.LSTM`, except for the forget gate's bias.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, 1)``, see `NormLSTM`.
        hidden: features of the state.
        read: rows or pixels.
        pool: averages windows of `pool` x `pool` pixels first; 2 makes 196 steps of 28 x 28 pixels.
        gamma: initial scale of the norms, see `NormLSTM`.
        max_steps: number of time steps with statistics of their own, see `NormLSTM`; null for all.
        noise: standard deviation of the initial state in training, see `NormLSTM`.
        forget_bias: initial bias of the forget gate; 1 keeps memory alive (Jozefowicz et al., 2015).
        bias: false only: nothing is added before its norms; the bias of the gates comes after them, for every norm.

    Raises:
        ValueError: no images or too small ones, unknown way to read, a norm that contains its activation, a bias.
    """

    min_image_size = 8

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        hidden: int = 100,
        read: str = "rows",
        pool: int = 1,
        gamma: float | None = None,
        max_steps: int | None = None,
        noise: float = 0.1,
        forget_bias: float = 1.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        fixed_bias(
            type(self),
            bias,
            False,
            "the bias of its gates comes after the norms, the same for every norm",
        )
        channels, height, width = image_shape(type(self), input_shape)
        (hidden,), (pool,) = (
            widths("model.hidden", [hidden]),
            widths("model.pool", [pool]),
        )
        if pool > min(height, width):
            raise ValueError(
                f"model.pool={pool} leaves nothing of {height} x {width} pixels; use a smaller one"
            )
        height, width = height // pool, width // pool
        by_row = choose("model.read", read, ["rows", "pixels"]) == "rows"
        self.pool, self.by_row = pool, by_row
        num_steps, num_inputs = (
            (height, channels * width) if by_row else (height * width, channels)
        )
        (steps,) = widths("model.max_steps", [max_steps or num_steps])
        self.lstm = NormLSTM(
            num_inputs, hidden, norm, min(steps, num_steps), gamma, noise, forget_bias
        )
        self.output = nn.Linear(hidden, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool > 1:
            x = functional.avg_pool2d(x, self.pool)
        sequence = (
            x.permute(0, 2, 1, 3).flatten(2)
            if self.by_row
            else x.flatten(2).transpose(1, 2)
        )
        return self.output(self.lstm(sequence))


class NormLSTM(nn.Module):
    """LSTM whose three sums are normalized at every step.

        i, f, g, o = norm_h(W_h h) + norm_x(W_x x_t) + b
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)        h = sigmoid(o) * tanh(norm_c(c))

    `norm_h` and `norm_x` have a scale but no shift, since b is one. Norms with buffers (running statistics) get them
    once per time step, see `StepNorm`; scale and shift are shared by all steps, as are norms without buffers (layer
    norm: Ba et al., 2016). With ``norm=none`` it is `torch.nn.LSTM`, with the order of its gates.

    The first state is the same for all samples, so a norm over the batch divides by a standard deviation of zero, and
    running means that lag behind the weights miss it by many of these. Noise on the initial state in training is the
    paper's remedy (section 5.1): rows of MNIST after two epochs score .97 in evaluation with it and .74 without.

    Input ``(N, T, F)``, output ``(N, hidden)``: h after the last step.

    Args:
        num_inputs: F.
        hidden: features of h and c.
        norm: called as ``norm(4 * hidden, 1)`` twice and as ``norm(hidden, 1)``.
        max_steps: steps with statistics of their own; later ones use the last's. 1: all steps share them.
        gamma: initial scale; None for 0.1 where there are statistics of the batch, and the norm's own elsewhere.
        noise: standard deviation of h before the first step in training; in evaluation h is 0.
        forget_bias: initial bias of the forget gate.

    Raises:
        ValueError: the norm contains its activation.
    """

    weight_matrices = ("weight_x", "weight_h")  # what norms on weights act on

    def __init__(
        self,
        num_inputs: int,
        hidden: int,
        norm: Norm,
        max_steps: int,
        gamma: float | None,
        noise: float,
        forget_bias: float,
    ) -> None:
        super().__init__()
        self.hidden, self.noise = hidden, noise
        bound = hidden**-0.5
        self.weight_x = nn.Parameter(
            torch.empty(4 * hidden, num_inputs).uniform_(-bound, bound)
        )
        self.weight_h = nn.Parameter(
            torch.empty(4 * hidden, hidden).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.empty(4 * hidden).uniform_(-bound, bound))
        with torch.no_grad():
            self.bias[hidden : 2 * hidden] = forget_bias
        self.norm_x = StepNorm(norm(4 * hidden, 1), max_steps, gamma, shift=False)
        self.norm_h = StepNorm(norm(4 * hidden, 1), max_steps, gamma, shift=False)
        self.norm_c = StepNorm(norm(hidden, 1), max_steps, gamma, shift=True)

    def forward(self, sequence: Tensor) -> Tensor:
        inputs = functional.linear(sequence, self.weight_x).unbind(1)
        weight_h = (
            self.weight_h
        )  # read once: a norm on weights computes it anew at every access
        c = sequence.new_zeros(len(sequence), self.hidden)
        h = self.noise * torch.randn_like(c) if self.training and self.noise else c
        for step, from_input in enumerate(inputs):
            from_state = functional.linear(h, weight_h)
            sums = (
                self.norm_h(from_state, step)
                + self.norm_x(from_input, step)
                + self.bias
            )
            i, f, g, o = sums.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * self.norm_c(c, step).tanh()
        return h


class StepNorm(nn.Module):
    """A norm with one copy of its buffers per time step.

    Every buffer of shape ``S`` becomes ``(max_steps, *S)``: running means and variances are ``(T, C)``. At step t the
    norm sees slice t of them, or the last one, and updates it in place. Its parameters are the same at every step.

    Args:
        norm: from the factory; used as it is where it has no buffers.
        max_steps: T.
        gamma: initial `weight`; None for 0.1 where there are buffers and the norm's own where not.
        shift: otherwise `bias` stays at 0 and is not trained.

    Raises:
        ValueError: the norm contains its activation, which gates do not allow.
    """

    def __init__(
        self, norm: nn.Module, max_steps: int, gamma: float | None, shift: bool
    ) -> None:
        super().__init__()
        self.norm = refuse_activation(norm, "the gates of an LSTM (model=recurrent)")
        self.max_steps = max_steps
        self.per_step = any(True for _ in norm.buffers())
        for module in norm.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(
                    name, buffer.expand(max_steps, *buffer.shape).clone()
                )
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        if gamma is None and self.per_step:
            gamma = BATCH_GAMMA
        if gamma is not None and isinstance(weight, nn.Parameter):
            nn.init.constant_(weight, gamma)
        if not shift and isinstance(bias, nn.Parameter):
            bias.requires_grad_(False)

    def forward(self, x: Tensor, step: int) -> Tensor:
        if not self.per_step:
            return self.norm(x)
        position = min(step, self.max_steps - 1)
        # Read anew at every call: an evaluation with the batch's statistics takes the buffers away.
        own = {name: buffer[position] for name, buffer in self.norm.named_buffers()}
        return functional_call(self.norm, own, (x,))
