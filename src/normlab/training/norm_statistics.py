"""What every norm layer does to its activations: `statistics.csv` and TensorBoard.

Once in a while a probe sends samples of the training part forward and backward through
the network. It leaves no trace in the run: buffers, gradients and random numbers are
put back. `benchmarks/norm_statistics.py` measures what it costs.
"""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from normlab.data.blocks import PROBE_SAMPLES, Block
from normlab.norms.on_weights import plain_name
from normlab.norms.parameters import norm_parameters
from normlab.training.callbacks import append_rows
from normlab.training.checkpoints import is_last_epoch
from normlab.training.steps import preserved_state
from normlab.training.tasks import Task

SAMPLED_VALUES = 8192  # of a tensor, for its quantiles and histogram
QUANTILES = {"activation_q15": 0.15, "activation_q50": 0.5, "activation_q85": 0.85}

# A record takes as long as about twenty steps of a small network.
MIN_STEPS_BETWEEN_RECORDS = 400

# As many as TensorBoard draws. Computing its default of 1549 takes most of the time.
HISTOGRAM_BINS = 30


class NormStatistics(Callback):
    """Records statistics of the norm layers and of the gradients of the weights.

    This happens at the end of the first epoch, of the last, and of every
    `every_n_epochs`-th epoch between them, but not more often than every
    `MIN_STEPS_BETWEEN_RECORDS` optimizer steps. Runs of several processes record
    nothing.

    Args:
        layers: the norm layers by name, in the order of depth.
        folder: the run folder.
        every_n_epochs: epochs from one record to the next; 0 records nothing.
        histograms: whether TensorBoard also gets histograms of scale, shift, running
            statistics, activations and gradients.
    """

    def __init__(
        self,
        layers: dict[str, nn.Module],
        folder: Path,
        every_n_epochs: int,
        histograms: bool,
    ) -> None:
        self.layers = layers
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.histograms = histograms
        self.block: Block | None = None
        self.samples: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Task, block: Block, index: int
    ) -> None:
        if not len(block.targets):
            return
        self.block = block
        targets = block.targets[block.probe]
        if len(targets):
            self.samples.append((block.inputs[block.probe], targets))

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        block = self.block
        samples = self.samples
        self.block = None
        self.samples = []
        epoch = task.progress.epoch + 1
        steps = task.progress.steps
        last = is_last_epoch(trainer)
        due = is_due(epoch, steps, self.every_n_epochs, last)
        if not due or block is None or trainer.world_size > 1:
            return

        if not samples:  # the time of the run was over before they came
            rest = slice(PROBE_SAMPLES)
            samples = [(block.inputs[rest], block.targets[rest])]
        inputs, targets = (torch.cat(parts) for parts in zip(*samples, strict=True))
        recorded = probe(task, self.layers, inputs, targets)
        rows = statistics_rows(self.layers, recorded)
        if not rows:
            return
        position = {"epoch": epoch, "step": steps}
        append_rows(self.folder / "statistics.csv", [position | row for row in rows])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                self._write_scalars(logger, rows, epoch)
                if self.histograms:
                    self._write_histograms(logger.experiment, recorded, epoch)

    def _write_scalars(
        self, logger: TensorBoardLogger, rows: list[dict], epoch: int
    ) -> None:
        # TensorBoard sorts tags by name. "within" puts these after the curves of the
        # metrics, which begin with "train" and "val".
        numbers = {}
        for row in rows:
            tag = f"within {row['statistic']}/{row['layer']}"
            numbers[tag] = row["value"]
        logger.log_metrics(numbers, step=epoch)

    def _write_histograms(
        self, writer: SummaryWriter, recorded: "Probe", epoch: int
    ) -> None:
        for name, layer in self.layers.items():
            tensors: dict[str, Tensor | None] = dict(layer.state_dict())
            if name in recorded.layers:
                output = recorded.layers[name].output
                tensors["activation"] = output.detach()
                tensors["gradient"] = output.grad
            for key, tensor in tensors.items():
                if tensor is None or not tensor.is_floating_point():
                    continue
                if tensor.numel() > 1:
                    add_histogram(writer, f"within {name}/{key}", tensor, epoch)


def is_due(epoch: int, steps: int, every_n_epochs: int, last: bool) -> bool:
    """Whether the statistics of this epoch are recorded.

    The answer depends on the position alone, so that a resumed run records the same.

    Args:
        epoch: number of the epoch that is ending, counted from 1.
        steps: optimizer steps so far, of which all epochs have the same number.
        every_n_epochs: epochs from one record to the next; 0 records nothing.
        last: whether no epoch follows.
    """
    if every_n_epochs == 0:
        return False
    min_epochs = MIN_STEPS_BETWEEN_RECORDS * epoch / max(steps, 1)
    interval = every_n_epochs * math.ceil(min_epochs / every_n_epochs)
    return last or epoch == 1 or epoch % interval == 0


class Activations(NamedTuple):
    """The input of a norm layer, and its output together with the output's gradient."""

    inputs: Tensor
    output: Tensor


class Probe(NamedTuple):
    """What one forward and backward pass shows.

    Attributes:
        layers: the activations of every norm layer that was called, by its name.
        weight_gradients: the norm of every weight tensor's gradient, a scalar tensor,
            by the name of the tensor's layer.
    """

    layers: dict[str, Activations]
    weight_gradients: dict[str, Tensor]


def probe(
    task: Task, layers: dict[str, nn.Module], inputs: Tensor, targets: Tensor
) -> Probe:
    """Send one batch forward and backward through the network in training mode.

    Args:
        task: the network and its loss.
        layers: norm layers by name.
        inputs: samples ready for the network ``(N, ...)``.
        targets: classes or numbers to predict ``(N,)``.
    """
    activations: dict[str, Activations] = {}

    def recorder(name: str) -> Callable:
        def record(
            layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor
        ) -> None:
            if output.requires_grad:
                output.retain_grad()
            activations[name] = Activations(arguments[0].detach(), output)

        return record

    handles = []
    for name, layer in layers.items():
        handles.append(layer.register_forward_hook(recorder(name)))
    try:
        # Hooks would be compiled into the network, and retained gradients break up a
        # compiled graph. Neither is worth it for one pass.
        eager = torch.compiler.set_stance("force_eager")
        with preserved_state(task.network), torch.enable_grad(), eager:
            gradients = _backpropagate(task, inputs, targets)
    finally:
        for handle in handles:
            handle.remove()
    return Probe(activations, gradients)


def _backpropagate(task: Task, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compute gradients, and return their norms by the name of the weights' layer."""
    parameters: dict[str, Tensor] = {
        name: parameter
        for name, parameter in task.network.named_parameters()
        if parameter.requires_grad
    }
    if parameters:
        loss = task.loss(task.network.train()(inputs), targets)
        loss.backward(inputs=list(parameters.values()))
    of_norms = norm_parameters(task.network)
    return {
        name: weight.grad.float().norm()
        for name, weight in weights(parameters).items()
        if weight.grad is not None and weight not in of_norms
    }


def weights(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight matrices and kernels by the name of their layer.

    A reparametrized weight is named by the layer that it is a weight of.

    Args:
        parameters: parameters by the names that `named_parameters` gives them.
    """
    by_layer = {}
    for name, parameter in parameters.items():
        plain = plain_name(name)
        is_weight = plain.rpartition(".")[2].startswith("weight")
        if is_weight and parameter.ndim > 1:
            by_layer[plain.removesuffix(".weight")] = parameter
    return by_layer


def statistics_rows(layers: dict[str, nn.Module], recorded: Probe) -> list[dict]:
    """Statistics of every norm layer, then gradient norms of the weights by depth.

    Args:
        layers: norm layers by name.
        recorded: what `probe` returned for them.

    Returns:
        One row per layer and statistic, with the keys `layer`, `statistic`, `value`.
    """
    names = []
    tensors = []
    for name, layer in layers.items():
        if name in recorded.layers:
            for statistic, value in _statistics(layer, *recorded.layers[name]).items():
                names.append((name, statistic))
                tensors.append(value.float())
    for name, norm in recorded.weight_gradients.items():
        names.append((name, "weights_gradient_norm"))
        tensors.append(norm.float())
    if not tensors:
        return []

    # Read all at once: every single number would wait for a GPU.
    values = torch.stack(tensors).tolist()
    return [
        {"layer": name, "statistic": statistic, "value": value}
        for (name, statistic), value in zip(names, values, strict=True)
    ]


def _statistics(layer: nn.Module, inputs: Tensor, output: Tensor) -> dict[str, Tensor]:
    """The statistics of one norm layer by name, as scalar tensors."""
    values: dict[str, Tensor] = {}
    for key in ("weight", "bias"):
        parameter = getattr(layer, key, None)
        if isinstance(parameter, Tensor) and parameter.numel() > 1:
            values[f"{key}_mean"] = parameter.detach().mean()
            values[f"{key}_std"] = parameter.detach().std()
    values |= _drift(layer, inputs)

    flat = sample(output)
    levels = torch.tensor(list(QUANTILES.values()), device=flat.device)
    values |= zip(QUANTILES, torch.quantile(flat, levels), strict=True)

    # A channel is dead if a ReLU would make it zero for every sample.
    channels = output.detach().transpose(0, 1).flatten(1)
    values["dead_fraction"] = (channels.amax(1) <= 0).float().mean()
    if output.grad is not None:
        values["gradient_norm"] = output.grad.float().norm()
    return values


def _drift(layer: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Distance between the batch's statistics and the running ones of evaluation.

    ``mean_drift = sqrt(mean ((batch mean - running mean)^2 / running var))`` and
    ``var_drift = mean |ln(batch var / running var)|``, both over channels.
    """
    running_mean = getattr(layer, "running_mean", None)
    running_var = getattr(layer, "running_var", None)
    if not isinstance(running_mean, Tensor) or not isinstance(running_var, Tensor):
        return {}
    if running_mean.shape != inputs.shape[1:2]:
        return {}

    channels = inputs.float().transpose(0, 1).flatten(1)
    batch_var, batch_mean = torch.var_mean(channels, dim=1)
    smallest = torch.finfo(torch.float32).tiny
    scale = running_var.clamp_min(smallest)
    squared_distance = (batch_mean - running_mean).square() / scale
    ratio = batch_var.clamp_min(smallest) / scale
    return {
        "batch_mean_mean": batch_mean.mean(),
        "batch_var_mean": batch_var.mean(),
        "running_mean_mean": running_mean.mean(),
        "running_var_mean": running_var.mean(),
        "mean_drift": squared_distance.mean().sqrt(),
        "var_drift": ratio.log().abs().mean(),
    }


def sample(tensor: Tensor) -> Tensor:
    """Evenly spaced values of a tensor, about `SAMPLED_VALUES` of them or all.

    They are spread over samples, channels and positions alike.
    """
    flat = tensor.detach().float().flatten()
    step = max(1, len(flat) // SAMPLED_VALUES)
    # A step that has a factor in common with the size would meet the same channels
    # again and again.
    while math.gcd(step, len(flat)) > 1:
        step += 1
    return flat[::step]


def add_histogram(writer: SummaryWriter, tag: str, tensor: Tensor, epoch: int) -> None:
    """Give TensorBoard the histogram of a tensor.

    If a value is not finite there is none; the scalars of the layer show it.

    Args:
        writer: TensorBoard's writer.
        tag: name of the histogram.
        tensor: floating point values of any shape.
        epoch: position of the histogram.
    """
    values = sample(tensor).cpu().double().numpy()  # the squares must not overflow
    if not np.isfinite(values).all():
        return
    counts, edges = np.histogram(values, HISTOGRAM_BINS)
    writer.add_histogram_raw(
        tag,
        min=float(values.min()),
        max=float(values.max()),
        num=len(values),
        sum=float(values.sum()),
        sum_squares=float(np.square(values).sum()),
        bucket_limits=edges[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=epoch,
    )
