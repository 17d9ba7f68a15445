"""What the norm layers of a stored run hold, channel by channel, and how far that is from the batches they see."""

from collections.abc import Sequence
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

from normlab.data.blocks import Block, Progress, TrainBlocks
from normlab.device.devices import set_threads
from normlab.evaluation.evaluate import read_config
from normlab.training.checkpoints import BEST, load
from normlab.training.norm_statistics import preserved_state
from normlab.training.preparation import prepare

RUNNING, BATCH = "#0072B2", "#E69F00"  # Okabe and Ito (2008)


@dataclass(frozen=True)
class LayerState:
    """One norm layer; every array has a value a channel ``(C,)``, None where the layer has no such thing.

    Of a layer with statistics for every time step (recurrent batch norm), these are ``(T, C)``.

    Attributes:
        name: of the layer in the network.
        kind: its class.
        scale: learned factor.
        shift: learned summand.
        running_mean: that evaluation subtracts.
        running_var: by which evaluation divides.
        batch_mean: of the layer's inputs over training batches.
        batch_var: of the layer's inputs, mean over training batches of the biased variance in each.
        eps: that the layer adds to a variance, and that keeps a constant input (a black row) from an endless drift.
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
        """Root mean square over channels of ``(batch_mean - running_mean) / sqrt(running_var + eps)``, NaN without."""
        if self.running_mean is None or self.running_var is None:
            return float("nan")
        squared = (self.batch_mean - self.running_mean) ** 2 / self._floored(
            self.running_var
        )
        return float(np.sqrt(squared.mean()))

    @property
    def var_drift(self) -> float:
        """Mean over channels of ``|ln((batch_var + eps) / (running_var + eps))|``, NaN without running variance."""
        if self.running_var is None:
            return float("nan")
        return float(
            np.abs(
                np.log(self._floored(self.batch_var) / self._floored(self.running_var))
            ).mean()
        )

    def _floored(self, variances: np.ndarray) -> np.ndarray:
        return np.maximum(variances + self.eps, np.finfo(np.float32).tiny)


def inspect_run(
    folder: Path, num_batches: int = 50, trusted: Sequence[str] = ()
) -> list[LayerState]:
    """The norm layers of a run's best state, in the order of depth.

    Args:
        folder: of a finished run.
        num_batches: training batches, in training mode, over which batch statistics are taken; nothing is updated.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: no finished run, or a network without norm layers.
    """
    config = read_config(folder, trusted)
    state = load(folder / "checkpoints" / BEST)
    prepared = prepare(config)
    set_threads(config["device"]["threads"], prepared.flops)
    network = prepared.task.network
    network.load_state_dict(state["network"])
    layers = {
        name: layer
        for name, layer in prepared.norm_layers.items()
        if not isinstance(layer, nn.Identity)
    }
    if not layers:
        raise ValueError(
            f"{folder} has no norm layers (norm={config['choices']['norm']}); name a run that has some"
        )
    blocks = TrainBlocks(
        prepared.parts.train,
        config["dataset"]["batch_size"],
        config["seed"],
        Progress(),
        max_steps=1,
    )
    batches = [block for _, block in zip(range(num_batches), blocks, strict=False)]
    moments = batch_moments(network, layers, batches)
    return [
        _state(name, layer, *moments[name])
        for name, layer in layers.items()
        if name in moments
    ]


@torch.no_grad()
def batch_moments(
    network: nn.Module, layers: dict[str, nn.Module], batches: list[Block]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer, mean and biased variance of its inputs per call in a pass and channel ``(T, C)``, over batches."""
    sums: dict[str, list[Tensor]] = {name: [] for name in layers}

    def remember(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].float().transpose(0, 1).flatten(1)
            sums[name].append(
                torch.stack([values.mean(1), values.var(1, correction=0)])
            )

        return hook

    handles = [
        layer.register_forward_pre_hook(remember(name))
        for name, layer in layers.items()
    ]
    try:
        with preserved_state(network):
            network.train()
            for batch in batches:
                network(batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    by_call = {
        name: torch.stack(found).unflatten(0, (len(batches), -1))
        for name, found in sums.items()
        if found
    }
    return {name: tuple(found.mean(0).unbind(1)) for name, found in by_call.items()}


def _state(
    name: str, layer: nn.Module, batch_mean: Tensor, batch_var: Tensor
) -> LayerState:
    running_mean = getattr(layer, "running_mean", None)
    steps = 0 if running_mean is None or running_mean.ndim < 2 else len(running_mean)
    batch_mean, batch_var = (
        _by_step(values, steps) for values in (batch_mean, batch_var)
    )

    def per_channel(key: str, shape: torch.Size) -> np.ndarray | None:
        value = getattr(layer, key, None)
        fits = isinstance(value, Tensor) and value.shape == shape
        return value.detach().float().numpy() if fits else None

    affine = [per_channel(key, batch_mean.shape[-1:]) for key in ("weight", "bias")]
    running = [
        per_channel(key, batch_mean.shape) for key in ("running_mean", "running_var")
    ]
    batch = batch_mean.numpy(), batch_var.numpy()
    return LayerState(
        name,
        type(layer).__name__,
        *affine,
        *running,
        *batch,
        getattr(layer, "eps", None) or 0.0,
    )


def _by_step(values: Tensor, steps: int) -> Tensor:
    """Calls ``(T, C)`` as a layer counts them: all alike ``(C,)``, or `steps` of them, the last for all later ones."""
    if steps == 0:
        return values.mean(0)
    return torch.cat([values[: steps - 1], values[steps - 1 :].mean(0, keepdim=True)])


def layers_table(states: list[LayerState]) -> Table:
    """A row a layer: the range of every quantity over channels, and the two drifts."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Norm layers, lowest to highest over channels",
        title_justify="left",
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("kind")
    quantities = (
        "scale",
        "shift",
        "running mean",
        "batch mean",
        "running var",
        "batch var",
    )
    for column in ("channels", *quantities, "mean drift", "var drift"):
        table.add_column(column, justify="right")
    for state in states:
        ranges = (
            state.scale, state.shift, state.running_mean, state.batch_mean, state.running_var, state.batch_var,
        )  # fmt: skip
        drifts = (state.mean_drift, state.var_drift)
        shown = ["–" if np.isnan(drift) else f"{drift:.3f}" for drift in drifts]
        table.add_row(
            state.name,
            state.kind,
            str(state.batch_mean.shape[-1]),
            *map(_range, ranges),
            *shown,
        )
    return table


def _range(values: np.ndarray | None) -> str:
    return "–" if values is None else f"{values.min():.3g} to {values.max():.3g}"


def draw_layers(states: list[LayerState], title: str) -> Figure:
    """A row of three panels a layer, channels sorted: scale and shift, means, variances."""
    figure = Figure(figsize=(10, 2.1 * len(states) + 0.6), layout="constrained")
    axes = figure.subplots(len(states), 3, squeeze=False)
    figure.suptitle(title, fontsize=10)
    for row, state in zip(axes, states, strict=True):
        _draw(row[0], {"scale": state.scale, "shift": state.shift}, "scale, shift")
        means = {"running": state.running_mean, "batch": state.batch_mean}
        variances = {"running": state.running_var, "batch": state.batch_var}
        _draw(row[1], means, _with_drift("mean", state.mean_drift))
        _draw(row[2], variances, _with_drift("variance", state.var_drift))
        if state.batch_var.min() > 0:
            row[2].set_yscale("log")
            row[2].tick_params(which="both", labelsize=8)
        row[0].set_ylabel(state.name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("channel, sorted", fontsize=8)
    return figure


def _with_drift(title: str, drift: float) -> str:
    return title if np.isnan(drift) else f"{title}, drift {drift:.3f}"


def _draw(axis: Axes, quantities: dict[str, np.ndarray | None], title: str) -> None:
    """Points a channel, by the first quantity that there is; those with a value a time step as means over steps."""
    there = {
        name: values.reshape(-1, values.shape[-1]).mean(0)
        for name, values in quantities.items()
        if values is not None
    }
    order = np.argsort(next(iter(there.values()), []))
    for name, values in there.items():
        place = list(quantities).index(name)
        axis.plot(
            values[order],
            "os"[place],
            markersize=3,
            color=(RUNNING, BATCH)[place],
            label=name,
            alpha=0.8,
        )
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.grid(alpha=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    if there:
        axis.legend(fontsize=7, frameon=False)
