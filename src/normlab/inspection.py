"""What the norm layers of a stored run hold, channel by channel, and how far that is from the batches they see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table
from torch import Tensor, nn

from normlab.checkpoints import BEST, load
from normlab.data.blocks import Block, Progress, TrainBlocks
from normlab.evaluation import read_config
from normlab.norm_statistics import unchanged
from normlab.training import prepare, set_threads

RUNNING, BATCH = "#0072B2", "#E69F00"  # Okabe and Ito (2008)


@dataclass(frozen=True)
class LayerState:
    """One norm layer; every array has a value a channel ``(C,)``, None where the layer has no such thing.

    Attributes:
        name: of the layer in the network.
        kind: its class.
        scale: learned factor.
        shift: learned summand.
        running_mean: that evaluation subtracts.
        running_var: by which evaluation divides.
        batch_mean: of the layer's inputs over training batches.
        batch_var: of the layer's inputs, mean over training batches of the biased variance in each.
    """

    name: str
    kind: str
    scale: np.ndarray | None
    shift: np.ndarray | None
    running_mean: np.ndarray | None
    running_var: np.ndarray | None
    batch_mean: np.ndarray
    batch_var: np.ndarray

    @property
    def mean_drift(self) -> float:
        """Root mean square over channels of ``(batch_mean - running_mean) / sqrt(running_var)``; NaN without either."""
        if self.running_mean is None or self.running_var is None:
            return float("nan")
        small = np.finfo(np.float32).tiny
        squared = (self.batch_mean - self.running_mean) ** 2 / np.maximum(self.running_var, small)
        return float(np.sqrt(squared.mean()))

    @property
    def var_drift(self) -> float:
        """Mean over channels of ``|ln(batch_var / running_var)|``; NaN without running variance."""
        if self.running_var is None:
            return float("nan")
        small = np.finfo(np.float32).tiny
        return float(np.abs(np.log(np.maximum(self.batch_var, small) / np.maximum(self.running_var, small))).mean())


def inspect_run(folder: Path, num_batches: int = 50, trusted: Sequence[str] = ()) -> list[LayerState]:
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
    layers = {name: layer for name, layer in prepared.norm_layers.items() if not isinstance(layer, nn.Identity)}
    if not layers:
        raise ValueError(f"{folder} has no norm layers (norm={config['choices']['norm']}); name a run that has some")
    blocks = TrainBlocks(prepared.parts.train, config["dataset"]["batch_size"], config["seed"], Progress(), max_steps=1)
    batches = [block for _, block in zip(range(num_batches), blocks, strict=False)]
    moments = batch_moments(network, layers, batches)
    return [_state(name, layer, *moments[name]) for name, layer in layers.items() if name in moments]


@torch.no_grad()
def batch_moments(
    network: nn.Module, layers: dict[str, nn.Module], batches: list[Block]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer, mean and biased variance of its inputs per channel ``(C,)``, averaged over batches and calls."""
    sums: dict[str, list[Tensor]] = {name: [] for name in layers}

    def remember(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            values = arguments[0].float().transpose(0, 1).flatten(1)
            sums[name].append(torch.stack([values.mean(1), values.var(1, correction=0)]))

        return hook

    handles = [layer.register_forward_pre_hook(remember(name)) for name, layer in layers.items()]
    try:
        with unchanged(network):
            network.train()
            for batch in batches:
                network(batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: tuple(torch.stack(found).mean(0)) for name, found in sums.items() if found}


def _state(name: str, layer: nn.Module, batch_mean: Tensor, batch_var: Tensor) -> LayerState:
    def per_channel(key: str) -> np.ndarray | None:
        value = getattr(layer, key, None)
        fits = isinstance(value, Tensor) and value.shape == batch_mean.shape
        return value.detach().float().numpy() if fits else None

    keys = ("weight", "bias", "running_mean", "running_var")
    return LayerState(name, type(layer).__name__, *map(per_channel, keys), batch_mean.numpy(), batch_var.numpy())


def layers_table(states: list[LayerState]) -> Table:
    """A row a layer: the range of every quantity over channels, and the two drifts."""
    table = Table(box=box.SIMPLE_HEAD, title="Norm layers, lowest to highest over channels", title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("kind")
    quantities = ("scale", "shift", "running mean", "batch mean", "running var", "batch var")
    for column in ("channels", *quantities, "mean drift", "var drift"):
        table.add_column(column, justify="right")
    for state in states:
        ranges = (
            state.scale, state.shift, state.running_mean, state.batch_mean, state.running_var, state.batch_var,
        )  # fmt: skip
        drifts = (state.mean_drift, state.var_drift)
        shown = ["–" if np.isnan(drift) else f"{drift:.3f}" for drift in drifts]
        table.add_row(state.name, state.kind, str(len(state.batch_mean)), *map(_range, ranges), *shown)
    return table


def _range(values: np.ndarray | None) -> str:
    return "–" if values is None else f"{values.min():.3g} to {values.max():.3g}"


def draw_layers(states: list[LayerState], title: str) -> Figure:
    """A row of three panels a layer, channels sorted by running (or batch) statistics: affine, means, variances."""
    figure = Figure(figsize=(10, 2.1 * len(states) + 0.6), layout="constrained")
    axes = figure.subplots(len(states), 3, squeeze=False)
    figure.suptitle(title, fontsize=10)
    for row, state in zip(axes, states, strict=True):
        by_mean = np.argsort(state.batch_mean if state.running_mean is None else state.running_mean)
        by_var = np.argsort(state.batch_var if state.running_var is None else state.running_var)
        affine = [("scale", state.scale, RUNNING), ("shift", state.shift, BATCH)]
        _draw(
            row[0], affine, np.arange(len(by_mean)) if state.scale is None else np.argsort(state.scale), "scale, shift"
        )
        means = [("running", state.running_mean, RUNNING), ("batch", state.batch_mean, BATCH)]
        variances = [("running", state.running_var, RUNNING), ("batch", state.batch_var, BATCH)]
        _draw(row[1], means, by_mean, _with_drift("mean", state.mean_drift))
        _draw(row[2], variances, by_var, _with_drift("variance", state.var_drift))
        if min(state.batch_var) > 0:
            row[2].set_yscale("log")
            row[2].tick_params(which="both", labelsize=8)
        row[0].set_ylabel(state.name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("channel, sorted", fontsize=8)
    return figure


def _with_drift(title: str, drift: float) -> str:
    return title if np.isnan(drift) else f"{title}, drift {drift:.3f}"


def _draw(axis, curves: list[tuple[str, np.ndarray | None, str]], order: np.ndarray, title: str) -> None:
    for place, (name, values, colour) in enumerate(curves):
        if values is not None:
            axis.plot(values[order], "os"[place], markersize=3, color=colour, label=name, alpha=0.8)
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.grid(alpha=0.15)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7, frameon=False)
