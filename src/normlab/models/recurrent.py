"""An LSTM over the rows or pixels of an image, with recurrent batch norm or others."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from normlab.models.biases import require_bias
from normlab.models.blocks import (
    Norm,
    choose,
    image_shape,
    positive_integer,
    refuse_activation,
)
from normlab.models.recognize import Weights, looks_like_norm
from normlab.norms.conventions import scale_of, shift_of

# Initial scale of norms with statistics of the batch: with 1 the tanh saturates and
# gradients vanish (section 4 of the paper).
BATCH_GAMMA = 0.1


class RecurrentNetwork(nn.Module):
    """An LSTM that reads an image as a sequence, and a linear layer on its last state.

    Cooijmans et al., "Recurrent batch normalization" (2017), arXiv 1603.09025. Inputs
    ``(N, C, H, W)`` become sequences ``(N, T, F)``: T = H rows of F = C W values, or
    T = H W pixels of F = C values. Outputs are ``(N, num_outputs)``. The weights start
    as in `torch.nn.LSTM`, except for the bias of the forget gate.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 1)``, see `NormLSTM`.
        hidden: number of features of the state.
        read: rows or pixels.
        pool: windows of `pool` x `pool` pixels are averaged first. 2 turns 28 x 28
            pixels into 196 steps.
        gamma: initial scale of the norms, see `NormLSTM`.
        max_steps: number of time steps with statistics of their own, see `NormLSTM`;
            null for all.
        noise: standard deviation of the initial state in training, see `NormLSTM`.
        forget_bias: initial bias of the forget gate. 1 lets the state persist at the
            start (Jozefowicz et al., 2015).
        bias: false only. No bias comes before the norms; the bias of the gates comes
            after them, the same for every norm.

    Raises:
        ValueError: the samples are no images or too small, `read` is unknown, the norm
            contains its activation, or `bias` is true.
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
        reason = "the bias of its gates comes after the norms, the same for every norm"
        require_bias(type(self), bias, False, reason)
        channels, height, width = image_shape(type(self), input_shape)
        positive_integer("model.hidden", hidden)
        positive_integer("model.pool", pool)
        if pool > min(height, width):
            raise ValueError(
                f"model.pool={pool} leaves nothing of {height} x {width} pixels; "
                "use a smaller one"
            )
        self.pool = pool
        self.by_row = choose("model.read", read, ["rows", "pixels"]) == "rows"

        num_rows = height // pool
        num_columns = width // pool
        if self.by_row:
            num_steps = num_rows
            num_inputs = channels * num_columns
        else:
            num_steps = num_rows * num_columns
            num_inputs = channels
        steps = positive_integer("model.max_steps", max_steps or num_steps)
        self.lstm = NormLSTM(
            num_inputs, hidden, norm, min(steps, num_steps), gamma, noise, forget_bias
        )
        self.output = nn.Linear(hidden, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool > 1:
            x = functional.avg_pool2d(x, self.pool)
        if self.by_row:
            sequence = x.permute(0, 2, 1, 3).flatten(2)  # (N, H, C W)
        else:
            sequence = x.flatten(2).transpose(1, 2)  # (N, H W, C)
        return self.output(self.lstm(sequence))


class NormLSTM(nn.Module):
    """LSTM that normalizes three of its sums at every time step.

        i, f, g, o = norm_h(W_h h) + norm_x(W_x x_t) + b
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(norm_c(c))

    `norm_h` and `norm_x` have a scale but no shift, since b is one. A norm with buffers
    (running statistics) gets one copy of them per time step, see `StepNorm`. Scale and
    shift are shared by all steps, and so are norms without buffers, such as layer norm
    (Ba et al., 2016). With ``norm=none`` this is `torch.nn.LSTM`, with its order of the
    gates.

    Without noise, all samples would start from the same state. A norm over the batch
    then divides by a standard deviation of zero at the first step, and in evaluation a
    running mean that lags behind the weights is wrong by many standard deviations.
    Noise on the initial state in training is the paper's remedy (section 5.1). After
    two epochs on rows of MNIST, the evaluation accuracy is 0.97 with it and 0.74
    without.

    Input ``(N, T, F)``, output ``(N, hidden)``: h after the last step.

    Args:
        num_inputs: F.
        hidden: number of features of h and c.
        norm: called as ``norm(4 * hidden, 1)`` twice and as ``norm(hidden, 1)``.
        max_steps: number of time steps with statistics of their own. Later steps use
            those of the last one; with 1 all steps share them.
        gamma: initial scale. None sets 0.1 if the norm has running statistics, and
            otherwise keeps the norm's own scale.
        noise: standard deviation of h before the first step in training. In evaluation
            h starts at 0.
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
        self.hidden = hidden
        self.noise = noise

        # The initial distribution of torch.nn.LSTM.
        bound = hidden**-0.5
        weight_x = torch.empty(4 * hidden, num_inputs).uniform_(-bound, bound)
        weight_h = torch.empty(4 * hidden, hidden).uniform_(-bound, bound)
        bias = torch.empty(4 * hidden).uniform_(-bound, bound)
        bias[hidden : 2 * hidden] = forget_bias
        self.weight_x = nn.Parameter(weight_x)
        self.weight_h = nn.Parameter(weight_h)
        self.bias = nn.Parameter(bias)

        self.norm_x = StepNorm(norm(4 * hidden, 1), max_steps, gamma, shift=False)
        self.norm_h = StepNorm(norm(4 * hidden, 1), max_steps, gamma, shift=False)
        self.norm_c = StepNorm(norm(hidden, 1), max_steps, gamma, shift=True)

    def forward(self, sequence: Tensor) -> Tensor:
        inputs = functional.linear(sequence, self.weight_x).unbind(1)
        # Read once: a norm on weights computes the weight at every access.
        weight_h = self.weight_h
        c = sequence.new_zeros(len(sequence), self.hidden)
        h = c
        if self.training and self.noise:
            h = self.noise * torch.randn_like(c)

        for step, from_input in enumerate(inputs):
            from_state = self.norm_h(functional.linear(h, weight_h), step)
            sums = from_state + self.norm_x(from_input, step) + self.bias
            i, f, g, o = sums.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * self.norm_c(c, step).tanh()
        return h


class StepNorm(nn.Module):
    """A norm with one copy of its buffers per time step.

    Every buffer of shape ``S`` becomes ``(max_steps, *S)``, so running means and
    variances are ``(max_steps, C)``. At step t the norm gets the slice t, or the last
    slice if there are fewer; while gradients are computed, it gets a copy. It may
    update this in place, or replace it by a new tensor; either is then written into the
    slice. The parameters are the same at every step. Input and output ``(N, C)``.

    What scales and shifts are called does not matter, see `normlab.norms.conventions`.
    Shifts of norms inside of the norm count as well; their scales do only if the norm
    has none itself.

    Args:
        norm: the norm. It is used unchanged if it has no buffers.
        max_steps: number of time steps with buffers of their own.
        gamma: initial value of the scale. None sets 0.1 if there are buffers, and
            otherwise keeps the norm's own value.
        shift: whether the shift is trained. Otherwise it stays at 0.

    Raises:
        ValueError: from the constructor, if the norm contains its activation, which
            gates do not allow; from the call, if the norm replaces a buffer by one of
            another shape.
    """

    def __init__(
        self, norm: nn.Module, max_steps: int, gamma: float | None, shift: bool
    ) -> None:
        super().__init__()
        self.norm = refuse_activation(norm, "the gates of an LSTM (model=recurrent)")
        self.max_steps = max_steps
        self.per_step = next(norm.buffers(), None) is not None
        for module in norm.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                copies = buffer.expand(max_steps, *buffer.shape).clone()
                module.register_buffer(name, copies)

        if gamma is None and self.per_step:
            gamma = BATCH_GAMMA
        if gamma is not None:
            for scale in outer_scales(norm):
                nn.init.constant_(scale, gamma)
        if not shift:
            for own_shift in all_shifts(norm):
                own_shift.requires_grad_(False)

    def forward(self, x: Tensor, step: int) -> Tensor:
        if not self.per_step:
            return self.norm(x)
        position = min(step, self.max_steps - 1)
        # Looked up at every call: an evaluation with the statistics of the batch takes
        # the buffers away.
        slices = {name: buffer[position] for name, buffer in self.norm.named_buffers()}
        buffers = dict(slices)
        if torch.is_grad_enabled():
            # The backward pass may need a buffer as it is now, and PyTorch would refuse
            # it after a change of another slice, which lies in the same memory.
            buffers = {name: value.clone() for name, value in slices.items()}
        # The call stores here what the norm has put in the place of a buffer.
        output: Tensor = functional_call(self.norm, buffers, (x,))
        with torch.no_grad():
            for name, value in buffers.items():
                if value is not slices[name]:
                    self._keep(name, slices[name], value)
        return output

    def _keep(self, name: str, kept: Tensor, value: Tensor) -> None:
        """Write what the norm made of a buffer into the slice of the time step."""
        try:
            kept.copy_(value)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self.norm).__name__} must keep the shape {tuple(kept.shape)} "
                f"of its buffer {name}, of which model=recurrent has one per time "
                f"step, it becomes {tuple(value.shape)}; register it with this shape"
            ) from error

    def keep_first_step(self) -> None:
        """Give the norm the buffers of the first time step, as a layer by itself.

        This module cannot be called afterwards.
        """
        for module in self.norm.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                setattr(module, name, buffer[0].clone())


def outer_scales(norm: nn.Module) -> list[Tensor]:
    """The scale of a norm, or the scales of the norms inside of it if it has none.

    Layers of PyTorch that are no norms have none, such as PReLU; nor have linear layers
    and convolutions, whoever wrote their class.
    """
    own = scale_of(norm, recurse=False)
    if own is not None:
        return [own]
    found = []
    for layer in norm.children():
        if isinstance(layer, Weights):
            continue
        is_torchs = type(layer).__module__.startswith("torch.")
        has_weight = scale_of(layer, recurse=False) is not None
        if is_torchs and has_weight and not looks_like_norm(layer):
            continue
        found += outer_scales(layer)
    return found


def all_shifts(norm: nn.Module) -> list[Tensor]:
    """The shifts of a norm and of the norms inside of it."""
    layers = [layer for layer in norm.modules() if not isinstance(layer, Weights)]
    shifts = [shift_of(layer, recurse=False) for layer in layers]
    return [shift for shift in shifts if shift is not None]
