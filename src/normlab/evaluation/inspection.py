"""What the norm layers of a stored run hold, channel by channel.

The running statistics are compared with those of the batches that the layers see.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table
from torch import Tensor, nn

from normlab.colours import BLUE, ORANGE
from normlab.data.blocks import Block
from normlab.data.features import FeatureTransform
from normlab.evaluation.evaluate import load_run
from normlab.norms.conventions import (
    running_mean_of,
    running_var_of,
    scale_of,
    shift_of,
)
from normlab.terminal import escaped
from normlab.training.preparation import Prepared
from normlab.training.recalibration import training_batches
from normlab.training.steps import preserved_state

# Colour and marker of the first and the second quantity in a panel.
STYLES = ((BLUE, "o"), (ORANGE, "s"))
NO_VALUE = "–"


@dataclass(frozen=True)
class LayerState:
    """One norm layer.

    Every array has one value per channel ``(C,)``; it is None if the layer has no such
    thing. If the layer has statistics for every time step (recurrent batch norm), these
    are ``(T, C)``.

    Attributes:
        name: name of the layer in the network.
        kind: name of its class.
        scale: learned factor.
        shift: learned summand.
        running_mean: the mean that evaluation subtracts.
        running_var: the variance by which evaluation divides.
        batch_mean: mean of the layer's inputs over training batches.
        batch_var: mean over training batches of the biased variance in each of them.
        eps: what the layer adds to a variance. It keeps the drift of a constant input
            (such as a black row of an image) finite.
    """

    name: str
    kind: str
    scale: np.ndarray | None
    shift: np.ndarray | None
    running_mean: np.ndarray | None
    running_var: np.ndarray | None
    batch_mean: np.ndarray
    batch_var: np.ndarray
    eps: float = 0.0

    @property
    def mean_drift(self) -> float:
        """Distance of the means, in running standard deviations.

        ``sqrt(mean ((batch_mean - running_mean)^2 / (running_var + eps)))`` over
        channels; NaN without running statistics.
        """
        if self.running_mean is None or self.running_var is None:
            return float("nan")
        distance = self.batch_mean - self.running_mean
        squared = distance**2 / self._with_eps(self.running_var)
        return float(np.sqrt(squared.mean()))

    @property
    def var_drift(self) -> float:
        """Distance of the variances on a logarithmic scale.

        ``mean |ln((batch_var + eps) / (running_var + eps))|`` over channels; NaN
        without a running variance.
        """
        if self.running_var is None:
            return float("nan")
        ratio = self._with_eps(self.batch_var) / self._with_eps(self.running_var)
        return float(np.abs(np.log(ratio)).mean())

    def _with_eps(self, variances: np.ndarray) -> np.ndarray:
        return np.maximum(variances + self.eps, np.finfo(np.float32).tiny)


def inspect_run(
    folder: Path, num_batches: int = 50, trusted: Sequence[str] = ()
) -> list[LayerState]:
    """Describe the norm layers of a run's best state, in the order of depth.

    Args:
        folder: the folder of a finished run.
        num_batches: number of training batches over which batch statistics are taken,
            at most one epoch. They pass in training mode, but nothing is updated.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: there are no batches, the folder holds no finished run, or its
            network has no norm layers.
    """
    if num_batches < 1:
        raise ValueError(f"num_batches must be at least 1, got {num_batches}")
    config, prepared = load_run(folder, trusted)
    if _hides_norms(prepared):
        config, prepared = load_run(folder, trusted, as_images=True)
    layers = _norms_of(prepared)
    if not layers:
        norm = config["choices"]["norm"]
        raise ValueError(
            f"{folder} has no norm layers (norm={norm}); name a run that has some"
        )

    batches = training_batches(config, prepared.parts.train, num_batches)
    return describe_layers(prepared.task.network, layers, batches)


def _hides_norms(prepared: Prepared) -> bool:
    """Whether cached features replace the images that some norms need."""
    if not isinstance(prepared.parts.train.transform, FeatureTransform):
        return False
    return any(name.startswith("features.") for name in _norms_of(prepared))


def _norms_of(prepared: Prepared) -> dict[str, nn.Module]:
    """The norm layers of a run by name, without places that have no norm."""
    layers = {}
    for name, layer in prepared.norm_layers.items():
        if not isinstance(layer, nn.Identity):
            layers[name] = layer
    return layers


def describe_layers(
    network: nn.Module, layers: dict[str, nn.Module], batches: Iterable[Block]
) -> list[LayerState]:
    """Describe norm layers as they are now, beside the batches that they see.

    Args:
        network: called in training mode; nothing of it is changed.
        layers: its norm layers by name.
        batches: blocks of one batch each.
    """
    moments = batch_moments(network, layers, batches)
    return [
        _layer_state(name, layer, *moments[name])
        for name, layer in layers.items()
        if name in moments
    ]


@torch.no_grad()
def batch_moments(
    network: nn.Module, layers: dict[str, nn.Module], batches: Iterable[Block]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and biased variance of the inputs of layers, averaged over batches.

    Args:
        network: called in training mode; nothing of it is changed.
        layers: layers of the network by name.
        batches: blocks of one batch each.

    Returns:
        By the name of every layer that was called, mean and variance ``(T, C)``: one
        row per call within a forward pass, one column per channel.
    """
    recorded: dict[str, list[Tensor]] = {name: [] for name in layers}

    def recorder(name: str) -> Callable:
        def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].float().transpose(0, 1).flatten(1)
            moments = torch.stack([values.mean(1), values.var(1, correction=0)])
            recorded[name].append(moments)

        return record

    handles = []
    for name, layer in layers.items():
        handles.append(layer.register_forward_pre_hook(recorder(name)))
    num_batches = 0
    try:
        with preserved_state(network):
            network.train()
            for batch in batches:
                network(batch.inputs)
                num_batches += 1
    finally:
        for handle in handles:
            handle.remove()

    averages = {}
    for name, calls in recorded.items():
        if calls:
            by_batch = torch.stack(calls).unflatten(0, (num_batches, -1))  # K, T, 2, C
            mean, var = by_batch.mean(0).unbind(1)
            averages[name] = (mean, var)
    return averages


def _layer_state(
    name: str, layer: nn.Module, batch_mean: Tensor, batch_var: Tensor
) -> LayerState:
    """The state of a layer.

    Args:
        name: name of the layer.
        layer: the layer.
        batch_mean: from `batch_moments` ``(T, C)``.
        batch_var: likewise.
    """
    running_mean = running_mean_of(layer)
    num_steps = 0
    if running_mean is not None and running_mean.ndim == 2:
        num_steps = len(running_mean)
    batch_mean = average_by_step(batch_mean, num_steps)
    batch_var = average_by_step(batch_var, num_steps)

    per_channel = batch_mean.shape[-1:]
    per_step = batch_mean.shape
    return LayerState(
        name=name,
        kind=type(layer).__name__,
        scale=_array(scale_of(layer), per_channel),
        shift=_array(shift_of(layer), per_channel),
        running_mean=_array(running_mean, per_step),
        running_var=_array(running_var_of(layer), per_step),
        batch_mean=batch_mean.cpu().numpy(),
        batch_var=batch_var.cpu().numpy(),
        eps=getattr(layer, "eps", None) or 0.0,
    )


def average_by_step(values: Tensor, num_steps: int) -> Tensor:
    """Average the calls of a layer as its own statistics do.

    Args:
        values: one row per call ``(T, C)``.
        num_steps: time steps with statistics of their own; calls beyond the last step
            belong to it. 0 if the layer has the same statistics for all calls.

    Returns:
        ``(num_steps, C)``, or ``(C,)`` for 0 steps.
    """
    if num_steps == 0:
        return values.mean(0)
    last = values[num_steps - 1 :].mean(0, keepdim=True)
    return torch.cat([values[: num_steps - 1], last])


def _array(value: Tensor | None, shape: torch.Size) -> np.ndarray | None:
    """A parameter or buffer in some shape, or None if it has another number of values.

    Norms of the user's own may keep them in the shape ``(1, C, 1, 1)``.
    """
    if value is None or value.numel() != shape.numel():
        return None
    return value.detach().float().cpu().numpy().reshape(shape)


def layers_table(states: list[LayerState]) -> Table:
    """A table with one row per layer: ranges over its channels, and both drifts."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Norm layers, lowest to highest over channels",
        title_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("kind")
    for column in (
        *("channels", "scale", "shift", "running mean", "batch mean"),
        *("running var", "batch var", "mean drift", "var drift"),
    ):
        table.add_column(column, justify="right")
    for state in states:
        table.add_row(
            escaped(state.name),
            escaped(state.kind),
            str(state.batch_mean.shape[-1]),
            _range(state.scale),
            _range(state.shift),
            _range(state.running_mean),
            _range(state.batch_mean),
            _range(state.running_var),
            _range(state.batch_var),
            _number(state.mean_drift),
            _number(state.var_drift),
        )
    return table


def _range(values: np.ndarray | None) -> str:
    if values is None:
        return NO_VALUE
    return f"{values.min():.3g} to {values.max():.3g}"


def _number(value: float) -> str:
    return NO_VALUE if np.isnan(value) else f"{value:.3f}"


def draw_layers(states: list[LayerState], title: str) -> Figure:
    """Draw one row per layer with three panels: scale and shift, means, variances.

    Args:
        states: the layers, from `inspect_run`.
        title: printed above the panels.
    """
    figure = Figure(figsize=(10, 2.1 * len(states) + 0.6), layout="constrained")
    axes = figure.subplots(len(states), 3, squeeze=False)
    figure.suptitle(title, fontsize=10)
    for row, state in zip(axes, states, strict=True):
        _draw_layer(row, state)
    for axis in axes[-1]:
        axis.set_xlabel("channel, sorted", fontsize=8)
    return figure


def _draw_layer(axes: Sequence[Axes], state: LayerState) -> None:
    learned, means, variances = axes
    learned.set_ylabel(state.name, fontsize=9)
    _draw_quantities(learned, {"scale": state.scale, "shift": state.shift})
    learned.set_title("scale, shift", fontsize=9)

    _draw_quantities(means, {"running": state.running_mean, "batch": state.batch_mean})
    means.set_title(_with_drift("mean", state.mean_drift), fontsize=9)

    _draw_quantities(
        variances, {"running": state.running_var, "batch": state.batch_var}
    )
    variances.set_title(_with_drift("variance", state.var_drift), fontsize=9)
    if state.batch_var.min() > 0:
        variances.set_yscale("log")
        variances.tick_params(which="both", labelsize=8)


def _with_drift(title: str, drift: float) -> str:
    if np.isnan(drift):
        return title
    return f"{title}, drift {drift:.3f}"


def _draw_quantities(axis: Axes, quantities: dict[str, np.ndarray | None]) -> None:
    """Draw one point per channel, sorted by the first quantity that the layer has.

    A quantity with values for every time step is drawn as its mean over the steps.

    Args:
        axis: the panel.
        quantities: at most two, by their label; None if the layer has no such thing.
    """
    order: np.ndarray | None = None
    for (label, values), (color, marker) in zip(
        quantities.items(), STYLES, strict=True
    ):
        if values is None:
            continue
        channels = values.reshape(-1, values.shape[-1]).mean(0)
        if order is None:
            order = np.argsort(channels)
        axis.plot(
            channels[order],
            marker,
            markersize=3,
            color=color,
            label=label,
            alpha=0.8,
        )
    if order is not None:
        axis.legend(fontsize=7, frameon=False)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.grid(alpha=0.15)
    axis.spines[["top", "right"]].set_visible(False)
