"""The layer that is examined: how it is built, called and fed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from normlab.check.formulas import Formula, over_channels
from normlab.check.kinds import OTHER, Kind
from normlab.check.source import Source
from normlab.norms.construction import (
    build_norm,
    name_of,
    normalizes_tensors,
    parameters_of,
    plan_call,
    rank_in_name,
)
from normlab.norms.conventions import SCALES, SHIFTS
from normlab.norms.loading import CODE_ERRORS, BrokenNorm, describe
from normlab.norms.state import OWN_OF_MODULES

CHANNELS = 4
SAMPLES = 6
LARGE = 100.0  # deviation of input for which eps does not matter


@dataclass(frozen=True)
class Case:
    """One kind of input.

    Attributes:
        name: such as "(N, C)".
        dim: 1, 2 or 3, with which a norm for it is built.
        shape: the sizes that are used.
        channel_axis: where the channels are.
    """

    name: str
    dim: int
    shape: tuple[int, ...]
    channel_axis: int = 1

    @property
    def values_per_channel(self) -> int:
        """Over how many values a channel is averaged."""
        return math.prod(self.shape) // self.shape[self.channel_axis]

    def along_channels(self, values: Tensor) -> Tensor:
        """One value per channel ``(C,)``, reshaped to broadcast to the input."""
        shape = [1] * len(self.shape)
        shape[self.channel_axis] = -1
        return values.reshape(shape)

    def with_channels(self, count: int) -> "Case":
        """The same kind of input with another number of channels."""
        shape = list(self.shape)
        shape[self.channel_axis] = count
        return replace(self, shape=tuple(shape))

    def draw(self, seed: int, scale: float = 1.0, offset: float = 1.0) -> Tensor:
        """Random input in float64 whose channels have different means and deviations.

        Args:
            seed: of the random numbers.
            scale: of all values.
            offset: of the means, in deviations.
        """
        generator = torch.Generator().manual_seed(seed)
        options: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
        noise = torch.randn(self.shape, **options)
        channels = self.shape[self.channel_axis]
        deviations = 0.5 + 1.5 * torch.rand(channels, **options)
        means = offset * torch.randn(channels, **options)
        x = noise * self.along_channels(deviations) + self.along_channels(means)
        return scale * x

    def __str__(self) -> str:
        return self.name


N = SAMPLES
C = CHANNELS
VECTORS = Case("(N, C)", 1, (N, C))
SEQUENCES = Case("(N, C, L)", 1, (N, C, 5))
IMAGES = Case("(N, C, H, W)", 2, (N, C, 3, 2))
VOLUMES = Case("(N, C, D, H, W)", 3, (N, C, 2, 3, 2))
ROWS = Case("(N, L, C)", 1, (N, 5, C), channel_axis=2)
CASES = (VECTORS, SEQUENCES, IMAGES, VOLUMES)
# Sizes for which a norm along the wrong axis fits by chance.
TRAPS = {
    SEQUENCES: Case("(N, C, L)", 1, (N, C, C)),
    IMAGES: Case("(N, C, H, W)", 2, (N, C, C, C)),
}


@dataclass
class Subject:
    """A layer under examination.

    Attributes:
        target: the class or function.
        options: further arguments of its constructor.
        source: its source.
        kind: what it is compared with.
        cases: the inputs that it takes, found by the first probe.
        eps: what it adds to the variance, as far as that was measured.
    """

    target: Callable[..., Any]
    options: Mapping[str, Any]
    source: Source
    kind: Kind = OTHER
    cases: list[Case] = field(default_factory=list)
    eps: float = 1e-5

    @property
    def name(self) -> str:
        """Name of the class or function."""
        return name_of(self.target)

    @property
    def main(self) -> Case:
        """The input that most properties are examined with."""
        return self.cases[0]

    @property
    def rank(self) -> int | None:
        """The rank in its name, such as 1 in BatchNorm1d."""
        return rank_in_name(self.name)

    @property
    def must_learn(self) -> bool:
        """Whether scale or shift are expected of it."""
        is_off = self.options.get("affine") is False
        is_function = normalizes_tensors(self.target)
        return bool(self.kind.learns) and not is_off and not is_function

    @property
    def must_average(self) -> bool:
        """Whether running averages are expected of it."""
        is_off = self.options.get("track_running_stats") is False
        return self.kind.has_averages and not is_off

    def takes_dim(self) -> bool:
        """Whether the constructor is told the rank of the input."""
        if self.rank is not None:
            return False
        calls = {str(plan_call(self.target, C, dim, self.options)) for dim in (1, 2)}
        return len(calls) == 2

    def with_option(self, name: str, value: Any) -> "Subject | None":
        """The same layer with another option; None if there is no such option."""
        if name not in parameters_of(self.target):
            return None
        return replace(self, options={**self.options, name: value})

    def build(
        self, dim: int | None = None, double: bool = True, channels: int = CHANNELS
    ) -> nn.Module:
        """A new layer in training mode.

        Args:
            dim: 1, 2 or 3; None takes that of the main case.
            double: convert it to float64, attributes included.
            channels: number of channels.

        Raises:
            BrokenNorm: it cannot be built, or is no complete module.
        """
        dim = self.main.dim if dim is None else dim
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            layer = build_norm(self.target, channels, dim, self.options)
        try:
            if double:
                to_double(layer)
            layer.train()
        except CODE_ERRORS as error:  # its own methods, or attributes of their names
            raise self._broken(layer, error) from error
        return layer

    def build_for_any_rank(self, double: bool = True) -> nn.Module:
        """A new layer for the first rank that its constructor takes.

        Args:
            double: as in `build`.

        Raises:
            BrokenNorm: it takes none; this is its error for the first one.
        """
        ranks = [1, 2, 3]
        if self.rank is not None:
            ranks = [self.rank]
        errors = []
        for dim in ranks:
            try:
                return self.build(dim, double)
            except BrokenNorm as error:
                errors.append(error)
        raise errors[0]

    def _broken(self, layer: nn.Module, error: BaseException) -> BrokenNorm:
        """The error for a layer that is built, but whose methods of a module fail."""
        line = self.source.passed_by(error)
        hint = ""
        hidden = hidden_methods(layer)
        if hidden:
            line = self.source.start(hidden[0])
            hint = f"; its attribute {hidden[0]} hides a method of torch.nn.Module"
        return BrokenNorm(
            f"{self.name} cannot be converted to float64 and put into training mode: "
            f"{describe(error)}{hint}",
            line,
        )

    def formulas(self, case: Case, layer: nn.Module) -> tuple[Formula, ...]:
        """The formulas that are right for some input; there may be none."""
        found = self.kind.for_layer(layer).formulas
        if case.channel_axis == 1:
            return found
        return tuple(one for one in found if one.axes is not over_channels)


def hidden_methods(layer: nn.Module) -> list[str]:
    """Names of methods of a module that attributes of a layer hide, such as `train`."""
    return [
        name
        for name, value in vars(layer).items()
        if callable(getattr(nn.Module, name, None)) and not callable(value)
    ]


def to_double(layer: nn.Module) -> None:
    """Convert a layer to float64, and tensors in its ordinary attributes with it."""
    layer.double()
    for module in layer.modules():
        for name, value in list(vars(module).items()):
            if name in OWN_OF_MODULES or not isinstance(value, Tensor):
                continue
            if value.is_floating_point():
                converted = value.detach().double()
                setattr(module, name, converted.requires_grad_(value.requires_grad))


class NoTensor(TypeError):
    """What a layer gives is no tensor."""


def call(layer: nn.Module, x: Tensor) -> Tensor:
    """Call a layer on a copy of `x`; it draws the same random numbers every time.

    Raises:
        NoTensor: it gives something else.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        y = layer(x.clone())
    if isinstance(y, Tensor):
        return y
    raise NoTensor(f"forward returns {'None' if y is None else type(y).__name__}")


def attempt(layer: nn.Module, x: Tensor) -> tuple[Tensor | None, BaseException | None]:
    """Call a layer; its output, or the exception that it raised."""
    try:
        return call(layer, x), None
    except CODE_ERRORS as error:  # whatever the code of a stranger raises
        return None, error


def short(error: BaseException | None) -> str:
    """An exception in a few words."""
    if error is None:
        return "no error"
    is_sentence = isinstance(error, NoTensor | BrokenNorm)
    text = str(error) if is_sentence else describe(error)
    return text if len(text) <= 160 else f"{text[:157]}..."


def scale_and_shift(
    layer: nn.Module,
) -> tuple[nn.Parameter | None, nn.Parameter | None]:
    """The learned scale and shift of a layer, by name or else by their first values."""
    parameters = dict(layer.named_parameters())
    scale = _named(parameters, SCALES)
    shift = _named(parameters, SHIFTS)
    for parameter in parameters.values():
        values = parameter.detach()
        if scale is None and parameter is not shift and bool((values == 1).all()):
            scale = parameter
        elif shift is None and parameter is not scale and bool((values == 0).all()):
            shift = parameter
    return scale, shift


def _named(
    parameters: Mapping[str, nn.Parameter], names: tuple[str, ...]
) -> nn.Parameter | None:
    for name in names:
        for path, parameter in parameters.items():
            if path.rpartition(".")[2].lower() == name:
                return parameter
    return None


@torch.no_grad()
def neutralize(layer: nn.Module) -> nn.Module:
    """Set the scale to 1 and the shift to 0."""
    scale, shift = scale_and_shift(layer)
    if scale is not None:
        scale.fill_(1)
    if shift is not None:
        shift.fill_(0)
    return layer


def trained(subject: Subject, steps: int = 3) -> nn.Module:
    """A layer after some training steps, with scales and shifts that differ."""
    layer = subject.build()
    scale, shift = scale_and_shift(layer)
    with torch.no_grad():
        for parameter, start in ((scale, 0.5), (shift, -0.2)):
            if parameter is not None:
                parameter.copy_(
                    start + 0.3 * torch.arange(parameter.numel()).view_as(parameter)
                )
    for seed in range(steps):
        call(layer, subject.main.draw(30 + seed))
    return layer
