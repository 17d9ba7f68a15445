"""Optimizers of a stack: a row of weights and a row of rates for every network.

The updates are those of `torch.optim`. Every network keeps its own optimizer. Its
settings hold for its row, and its state consists of views of the stack's, so that it is
stored and resumed like that of a run by itself.

Shapes: K networks, P trained numbers in each.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

# A number for all, or one for every network ``(K, 1)`` or every weight ``(K, P)``, in
# double precision like the numbers of Python: 1 - 0.999 has few digits in float32.
Rate = float | Tensor
Group = dict[str, Any]  # of parameters, with their settings
Numbers = tuple[float, ...]  # settings of a group of parameters

SMALLEST_NORM = 1e-6  # added to the norm of a gradient by torch's clipping


class StackedOptimizer:
    """The optimizers of K networks, which make their steps together.

    Args:
        optimizers: one for each network, all of one class.
        parameters: those of each network, in the order of the columns of its row.
        weights: rows ``(K, P)``, of which the parameters are views.
    """

    rates: tuple[str, ...]  # settings that are numbers
    fixed: ClassVar[dict[str, Any]]  # settings that a stack has with this value only
    shared: tuple[str, ...] = ()  # settings that are the same for all networks

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        parameters: Sequence[Sequence[Tensor]],
        weights: Tensor,
    ) -> None:
        self.optimizers = optimizers
        self.parameters = parameters
        self.weights = weights
        self.sizes = []
        for parameter in parameters[0]:
            self.sizes.append(parameter.numel())
        self.state: dict[str, Tensor] = {}
        self.rate: dict[str, Rate] = {}
        pairs = zip(optimizers, parameters, strict=True)
        self._pairs = list(pairs)
        self._settings: list[list[Numbers]] = []
        self._groups = []
        for optimizer, its_parameters in self._pairs:
            groups = _groups(optimizer, its_parameters)
            self._groups.append(groups)
            # A scheduler warns if it steps before its optimizer, whose steps are made
            # here. The attribute is private in PyTorch, checked with 2.15.
            optimizer._opt_called = True  # type: ignore[attr-defined]
        self.refresh()

    def refresh(self) -> None:
        """Read the settings of every network, which its schedule may have changed."""
        settings = []
        for optimizer in self.optimizers:
            of_groups = map(self.numbers, optimizer.param_groups)
            settings.append(list(of_groups))
        if settings == self._settings:
            return
        self._settings = settings
        for position, name in enumerate(self.rates):
            self.rate[name] = self._rate(position)

    def numbers(self, group: Group) -> Numbers:
        """The `rates` of a group of parameters."""
        return tuple(map(group.__getitem__, self.rates))

    def _rate(self, position: int) -> Rate:
        """A setting of all networks and parameters, in the simplest form.

        Args:
            position: of the setting in `rates`.
        """
        rows = []
        networks = zip(self._settings, self._groups, strict=True)
        for its_settings, groups in networks:
            row = []
            for group in groups:
                row.append(its_settings[group][position])
            rows.append(row)
        device = self.weights.device
        values = torch.tensor(rows, dtype=torch.float64, device=device)
        first = values[0, 0]
        if values.eq(first).all():
            return float(first)
        of_networks = values[:, :1]
        if values.eq(of_networks).all():
            return of_networks
        repeats = torch.tensor(self.sizes, device=device)
        return values.repeat_interleave(repeats, dim=1)

    def attach(
        self,
        name: str,
        scalar: bool = False,
    ) -> None:
        """Put a state that the optimizers keep of their parameters side by side.

        Args:
            name: of the state; where there is none yet, it is zero.
            scalar: whether it is one number per parameter, not one per weight.
        """
        count = len(self._pairs)
        states = []
        shapes = []
        columns = []
        for position, parameter in enumerate(self.parameters[0]):
            its_states = self._states(position)
            shape = torch.Size() if scalar else parameter.shape
            values = _column(name, its_states, shape, self.weights.device)
            states.append(its_states)
            shapes.append(shape)
            columns.append(values.view(count, -1))
        dtype = torch.float32 if scalar else self.weights.dtype
        stacked = torch.cat(columns, 1).to(dtype)
        self.state[name] = stacked
        sizes = list(map(torch.Size.numel, shapes))
        parts = zip(states, shapes, stacked.split(sizes, 1), strict=True)
        for its_states, shape, column in parts:
            views = column.view(count, *shape).unbind()
            for state, view in zip(its_states, views, strict=True):
                state[name] = view

    def _states(self, position: int) -> list[dict[str, Tensor]]:
        """What every optimizer keeps of one parameter, by name."""
        states = []
        for optimizer, parameters in self._pairs:
            states.append(optimizer.state[parameters[position]])
        return states

    def fitting(self, name: str) -> Rate:
        """A setting in the type of the weights."""
        return self._fit(self.rate[name])

    def _fit(self, value: Rate) -> Rate:
        if isinstance(value, Tensor):
            return value.to(self.weights.dtype)
        return value

    def take(self, chosen: Tensor) -> "StackedOptimizer":
        """A copy for some of the networks, by their numbers ``(k,)``."""
        part = copy(self)
        part.state = {}
        for name, rows in self.state.items():
            part.state[name] = rows.index_select(0, chosen)
        part.rate = {}
        for name, value in self.rate.items():
            part.rate[name] = value
            if isinstance(value, Tensor):
                part.rate[name] = value.index_select(0, chosen)
        return part

    def put(
        self,
        chosen: Tensor,
        part: "StackedOptimizer",
    ) -> None:
        """Write back what `take` returned, after it has made steps."""
        for name, rows in part.state.items():
            self.state[name].index_copy_(0, chosen, rows)

    @torch.no_grad()
    def step(
        self,
        weights: Tensor,
        gradients: Tensor,
    ) -> None:
        """Move the weights and the state in place.

        Args:
            weights: a row for every network ``(K, P)``.
            gradients: of the weights.
        """
        raise NotImplementedError


class StackedSGD(StackedOptimizer):
    """`torch.optim.SGD` with momentum, Nesterov's or the plain one."""

    rates = ("lr", "momentum", "weight_decay")
    fixed: ClassVar = {"dampening": 0, "maximize": False}
    shared = ("nesterov",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        first = self.optimizers[0].param_groups[0]
        self.nesterov = first["nesterov"]
        if not _is_zero(self.rate["momentum"]):
            self.attach("momentum_buffer")

    @torch.no_grad()
    def step(
        self,
        weights: Tensor,
        gradients: Tensor,
    ) -> None:
        decay = self.fitting("weight_decay")
        if not _is_zero(decay):
            gradients = gradients + weights * decay
        average = self.state.get("momentum_buffer")
        if average is not None:
            momentum = self.fitting("momentum")
            average.mul_(momentum)
            average.add_(gradients)
            ahead = average
            if self.nesterov:
                ahead = gradients + average * momentum
            gradients = ahead
        weights.sub_(gradients * self.fitting("lr"))


class StackedAdam(StackedOptimizer):
    """`torch.optim.Adam`."""

    rates = ("lr", "beta1", "beta2", "eps", "weight_decay")
    fixed: ClassVar = {"amsgrad": False, "maximize": False}
    decoupled = False  # whether weights decay apart from the gradient

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.attach("step", scalar=True)
        self.attach("exp_avg")
        self.attach("exp_avg_sq")

    def numbers(self, group: Group) -> Numbers:
        beta1, beta2 = group["betas"]
        by_name = group | {"beta1": beta1, "beta2": beta2}
        return super().numbers(by_name)

    @torch.no_grad()
    def step(
        self,
        weights: Tensor,
        gradients: Tensor,
    ) -> None:
        gradients = self._decay(weights, gradients)
        beta1 = self.rate["beta1"]
        mean = self.state["exp_avg"]
        mean.mul_(self.fitting("beta1"))
        mean.add_(gradients * self._fit(1 - beta1))

        beta2 = self.rate["beta2"]
        square = self.state["exp_avg_sq"]
        square.mul_(self.fitting("beta2"))
        squared = gradients.square()
        square.add_(squared * self._fit(1 - beta2))

        steps = self.state["step"]
        steps.add_(1)
        number = steps[:, :1].double()
        size = self.rate["lr"] / (1 - beta1**number)
        correction = 1 - beta2**number
        denominator = square.sqrt()
        denominator.div_(self._fit(correction.sqrt()))
        denominator.add_(self.fitting("eps"))
        change = mean / denominator
        change.mul_(self._fit(size))
        weights.sub_(change)

    def _decay(
        self,
        weights: Tensor,
        gradients: Tensor,
    ) -> Tensor:
        """Shrink the weights, or return the gradients with what shrinks them."""
        decay = self.rate["weight_decay"]
        if _is_zero(decay):
            return gradients
        if self.decoupled:
            kept = 1 - self.rate["lr"] * decay
            weights.mul_(self._fit(kept))
            return gradients
        return gradients + weights * self._fit(decay)


class StackedAdamW(StackedAdam):
    """`torch.optim.AdamW`."""

    decoupled = True


KINDS: dict[type[Optimizer], type[StackedOptimizer]] = {
    SGD: StackedSGD,
    Adam: StackedAdam,
    AdamW: StackedAdamW,
}


def why_not(optimizers: Sequence[Optimizer]) -> str | None:
    """Why optimizers cannot make their steps together; None if they can.

    Args:
        optimizers: one for each network.
    """
    kind = type(optimizers[0])
    form = KINDS.get(kind)
    if form is None:
        known = ", ".join(each.__name__ for each in KINDS)
        return f"the optimizer {kind.__name__} has no stacked form; {known} have one"
    wanted = dict(form.fixed)
    first = optimizers[0].param_groups[0]
    for name in form.shared:
        wanted[name] = first[name]
    for optimizer, name in product(optimizers, wanted):
        value = wanted[name]
        for group in optimizer.param_groups:
            found = group[name]
            if found != value:
                return f"optimizer.{name} must be {value}, got {found}"
    return None


def clip(gradients: Tensor, largest: Sequence[float | None]) -> Tensor:
    """Shorten the gradients of every network, as `clip_grad_norm_` does.

    Args:
        gradients: ``(K, P)``.
        largest: norm of the gradient of each network; None leaves it as it is.
    """
    limits = []
    for each in largest:
        if each is None:
            each = torch.inf
        limits.append(each)
    rows = torch.tensor(limits, dtype=torch.float64)
    limit = rows.to(gradients).unsqueeze(1)
    norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    share = limit / (norm + SMALLEST_NORM)
    share.clamp_(max=1.0)
    share.masked_fill_(limit.isinf(), 1.0)
    return gradients * share


def _column(
    name: str,
    states: Iterable[dict[str, Tensor]],
    shape: torch.Size,
    device: torch.device,
) -> Tensor:
    """A state of one parameter of all networks ``(K, ...)``.

    Args:
        name: of the state.
        states: of the parameter in every network, by name; what is missing is zero.
        shape: of the state in one network.
        device: of the column.
    """
    values = []
    for state in states:
        value = state.get(name)
        if value is None:
            value = torch.zeros(shape)
        values.append(value.to(device))
    return torch.stack(values)


def _groups(optimizer: Optimizer, parameters: Sequence[Tensor]) -> list[int]:
    """The number of the group that each parameter is in."""
    group_of = {}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            group_of[parameter] = number
    return [group_of[parameter] for parameter in parameters]


def _is_zero(value: Rate) -> bool:
    return isinstance(value, float) and value == 0.0
