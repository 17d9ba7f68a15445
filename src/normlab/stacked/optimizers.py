"""Optimizers of a stack: a row of weights and a row of rates for every network.

The updates are those of `torch.optim`. Every network keeps its own optimizer. Its
settings hold for its row, and its state consists of views of the stack's, so that it is
stored and resumed like that of a run by itself.

Shapes: K networks, P trained numbers in each.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

# A number for all, or one for every network ``(K, 1)`` or every weight ``(K, P)``, in
# double precision like the numbers of Python: 1 - 0.999 has few digits in float32.
Rate = float | Tensor

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
        self.sizes = [each.numel() for each in parameters[0]]
        self.state: dict[str, Tensor] = {}
        self.rate: dict[str, Rate] = {}
        self._settings: list[list[tuple[float, ...]]] = []
        self._groups = [_groups(*pair) for pair in self._pairs()]
        for optimizer in optimizers:
            # A scheduler warns if it steps before its optimizer, whose steps are made
            # here. The attribute is private in PyTorch, checked with 2.15.
            optimizer._opt_called = True  # type: ignore[attr-defined]
        self.refresh()

    def _pairs(self) -> list[tuple[Optimizer, Sequence[Tensor]]]:
        return list(zip(self.optimizers, self.parameters, strict=True))

    def refresh(self) -> None:
        """Read the settings of every network, which its schedule may have changed."""
        settings = [
            [self.numbers(group) for group in optimizer.param_groups]
            for optimizer in self.optimizers
        ]
        if settings == self._settings:
            return
        self._settings = settings
        for position, name in enumerate(self.rates):
            rows = []
            for its_settings, groups in zip(settings, self._groups, strict=True):
                rows.append([its_settings[group][position] for group in groups])
            self.rate[name] = self._rate(rows)

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        """The `rates` of a group of parameters."""
        return tuple(group[name] for name in self.rates)

    def _rate(self, rows: list[list[float]]) -> Rate:
        """A setting of every network and parameter, in the simplest form."""
        values = torch.tensor(rows, dtype=torch.float64, device=self.weights.device)
        if values.eq(values[0, 0]).all():
            return float(rows[0][0])
        if values.eq(values[:, :1]).all():
            return values[:, :1]
        repeats = torch.tensor(self.sizes, device=values.device)
        return values.repeat_interleave(repeats, dim=1)

    def attach(self, name: str, scalar: bool = False) -> None:
        """Put a state that the optimizers keep of their parameters side by side.

        Args:
            name: of the state; where there is none yet, it is zero.
            scalar: whether it is one number per parameter, not one per weight.
        """
        nothing = [each.new_zeros(each.shape) for each in self.parameters[0]]
        if scalar:
            nothing = [each.new_zeros((), dtype=torch.float32) for each in nothing]
        rows = []
        for optimizer, parameters in self._pairs():
            values = []
            for parameter, zero in zip(parameters, nothing, strict=True):
                value = optimizer.state[parameter].get(name)
                values.append((zero if value is None else value).flatten())
            rows.append(torch.cat(values))
        stacked = torch.stack(rows)
        self.state[name] = stacked
        sizes = [zero.numel() for zero in nothing]
        for row, (optimizer, parameters) in zip(stacked, self._pairs(), strict=True):
            views = row.split(sizes)
            for parameter, zero, view in zip(parameters, nothing, views, strict=True):
                optimizer.state[parameter][name] = view.view_as(zero)

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

    def put(self, chosen: Tensor, part: "StackedOptimizer") -> None:
        """Write back what `take` returned, after it has made steps."""
        for name, rows in part.state.items():
            self.state[name].index_copy_(0, chosen, rows)

    @torch.no_grad()
    def step(self, weights: Tensor, gradients: Tensor) -> None:
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
        self.nesterov = self.optimizers[0].param_groups[0]["nesterov"]
        if not _is_zero(self.rate["momentum"]):
            self.attach("momentum_buffer")

    @torch.no_grad()
    def step(self, weights: Tensor, gradients: Tensor) -> None:
        rate = self.rate
        decay = _in_type_of(weights, rate["weight_decay"])
        if not _is_zero(decay):
            gradients = gradients + weights * decay
        average = self.state.get("momentum_buffer")
        if average is not None:
            momentum = _in_type_of(weights, rate["momentum"])
            average.mul_(momentum).add_(gradients)
            ahead = gradients + average * momentum if self.nesterov else average
            gradients = ahead
        weights.sub_(gradients * _in_type_of(weights, rate["lr"]))


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

    def numbers(self, group: dict[str, Any]) -> tuple[float, ...]:
        beta1, beta2 = group["betas"]
        return (group["lr"], beta1, beta2, group["eps"], group["weight_decay"])

    @torch.no_grad()
    def step(self, weights: Tensor, gradients: Tensor) -> None:
        def fit(value: Rate) -> Rate:
            return _in_type_of(weights, value)

        rate = self.rate
        lr, beta1, beta2 = rate["lr"], rate["beta1"], rate["beta2"]
        decay = rate["weight_decay"]
        if not _is_zero(decay) and self.decoupled:
            weights.mul_(fit(1 - lr * decay))
        elif not _is_zero(decay):
            gradients = gradients + weights * fit(decay)

        mean, square = self.state["exp_avg"], self.state["exp_avg_sq"]
        mean.mul_(fit(beta1)).add_(gradients * fit(1 - beta1))
        square.mul_(fit(beta2)).add_(gradients.square() * fit(1 - beta2))

        steps = self.state["step"].add_(1)[:, :1].double()
        size = lr / (1 - beta1**steps)
        root = (1 - beta2**steps).sqrt()
        denominator = square.sqrt().div_(fit(root)).add_(fit(rate["eps"]))
        weights.sub_(mean.div(denominator).mul_(fit(size)))


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
    if kind not in KINDS:
        known = ", ".join(each.__name__ for each in KINDS)
        return f"the optimizer {kind.__name__} has no stacked form; {known} have one"
    wanted = dict(KINDS[kind].fixed)
    for name in KINDS[kind].shared:
        wanted[name] = optimizers[0].param_groups[0][name]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for name, value in wanted.items():
                if group[name] != value:
                    return f"optimizer.{name} must be {value}, got {group[name]}"
    return None


def clip(gradients: Tensor, largest: Sequence[float | None]) -> Tensor:
    """Shorten the gradients of every network, as `clip_grad_norm_` does.

    Args:
        gradients: ``(K, P)``.
        largest: norm of the gradient of each network; None leaves it as it is.
    """
    limits = [torch.inf if limit is None else limit for limit in largest]
    limit = torch.tensor(limits, dtype=torch.float64).to(gradients)[:, None]
    norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    share = (limit / (norm + SMALLEST_NORM)).clamp(max=1.0)
    return gradients * torch.where(limit.isinf(), 1.0, share)


def _groups(optimizer: Optimizer, parameters: Sequence[Tensor]) -> list[int]:
    """The number of the group that each parameter is in."""
    group_of = {}
    for number, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            group_of[id(parameter)] = number
    return [group_of[id(parameter)] for parameter in parameters]


def _in_type_of(weights: Tensor, value: Rate) -> Rate:
    return value if isinstance(value, float) else value.to(weights.dtype)


def _is_zero(value: Rate) -> bool:
    return isinstance(value, float) and value == 0.0
