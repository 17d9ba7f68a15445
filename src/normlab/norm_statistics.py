"""What every norm layer does to its activations, sampled once in a while: `statistics.csv` and TensorBoard.

The probe is one extra forward and backward pass over samples of the training part. It leaves no trace in the run:
buffers, gradients and random numbers are put back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from normlab.callbacks import append_rows
from normlab.data.blocks import Block
from normlab.tasks import Task

PROBE_SAMPLES = 256
HISTOGRAM_VALUES = 16384


class NormStatistics(Callback):
    """Records statistics of the norm layers every `every_n_epochs` epochs, and in the first.

    Args:
        layers: the norm layers by name, in the order of depth.
        folder: the run folder.
        every_n_epochs: 0 records nothing.
        histograms: also histograms of scale, shift and running statistics in TensorBoard.
    """

    def __init__(self, layers: dict[str, nn.Module], folder: Path, every_n_epochs: int, histograms: bool) -> None:
        self.layers, self.folder = layers, folder
        self.every_n_epochs, self.histograms = every_n_epochs, histograms
        self.block: Block | None = None

    def on_train_batch_start(self, trainer: pl.Trainer, task: Task, block: Block, index: int) -> None:
        if len(block.targets):
            self.block = block

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch, block, self.block = task.progress.epoch + 1, self.block, None
        due = self.every_n_epochs and (epoch == 1 or epoch % self.every_n_epochs == 0)
        if not due or block is None or not self.layers or trainer.world_size > 1:
            return
        seen = probe(task, self.layers, block.inputs[:PROBE_SAMPLES], block.targets[:PROBE_SAMPLES])
        rows = statistics_of(self.layers, seen)
        position = {"epoch": epoch, "step": task.progress.steps}
        append_rows(self.folder / "statistics.csv", [position | row for row in rows])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                self._to_tensorboard(logger.experiment, rows, seen, epoch)

    def _to_tensorboard(self, writer: SummaryWriter, rows: list[dict], seen: dict[str, "Seen"], epoch: int) -> None:
        # TensorBoard sorts by name; "within" comes after "train" and "val", where the curves are.
        for row in rows:
            writer.add_scalar(f"within {row['statistic']}/{row['layer']}", row["value"], epoch)
        if self.histograms:
            for name, layer in self.layers.items():
                tensors = dict(layer.state_dict())
                if name in seen:
                    tensors |= {"activation": sample(seen[name].output), "gradient": sample(seen[name].output.grad)}
                for key, tensor in tensors.items():
                    if tensor is not None and tensor.is_floating_point() and tensor.numel() > 1:
                        _add_histogram(writer, f"within {name}/{key}", tensor.float(), epoch)


class Seen(NamedTuple):
    """What went into a norm layer and what came out, the latter with its gradient."""

    inputs: Tensor
    output: Tensor


def _add_histogram(writer: SummaryWriter, tag: str, tensor: Tensor, epoch: int) -> None:
    if tensor.isfinite().all():  # TensorBoard refuses others; the scalars tell of them
        writer.add_histogram(tag, tensor, epoch)


def sample(tensor: Tensor | None) -> Tensor | None:
    """At most `HISTOGRAM_VALUES` evenly spaced values, enough for quantiles and histograms."""
    if tensor is None:
        return None
    flat = tensor.detach().float().flatten()
    return flat[:: max(1, len(flat) // HISTOGRAM_VALUES)]


def probe(task: Task, layers: dict[str, nn.Module], inputs: Tensor, targets: Tensor) -> dict[str, Seen]:
    """Inputs and outputs of every norm layer on one batch, after a forward and a backward pass in training mode.

    Args:
        task: the network and its loss.
        layers: norm layers by name.
        inputs: ``(N, ...)`` ready for the network.
        targets: ``(N,)``.
    """
    seen: dict[str, Seen] = {}

    def remember(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if output.requires_grad:
                output.retain_grad()
            seen[name] = Seen(arguments[0].detach(), output)

        return hook

    handles = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
    try:
        with unchanged(task.network), torch.enable_grad():
            parameters = [parameter for parameter in task.network.parameters() if parameter.requires_grad]
            if parameters:
                task.loss(task.network.train()(inputs), targets).backward(inputs=parameters)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def statistics_of(layers: dict[str, nn.Module], seen: dict[str, Seen]) -> list[dict]:
    """Statistics of every norm layer, as rows of layer, statistic, value."""
    return [row for name, layer in layers.items() if name in seen for row in _rows(name, layer, *seen[name])]


def _rows(name: str, layer: nn.Module, inputs: Tensor, output: Tensor) -> list[dict]:
    values = {}
    for key in ("weight", "bias"):
        parameter = getattr(layer, key, None)
        if isinstance(parameter, Tensor) and parameter.numel() > 1:
            values |= {f"{key}_mean": parameter.detach().mean(), f"{key}_std": parameter.detach().std()}
    values |= _drift(layer, inputs)
    flat = sample(output)
    quantiles = torch.quantile(flat, torch.tensor([0.15, 0.5, 0.85], device=flat.device))
    values |= dict(zip(("activation_q15", "activation_q50", "activation_q85"), quantiles, strict=True))
    channels = output.detach().transpose(0, 1).flatten(1)
    values["dead_fraction"] = (channels.amax(1) <= 0).float().mean()  # zero after a ReLU for every sample
    if output.grad is not None:
        values["gradient_norm"] = output.grad.float().norm()
    return [{"layer": name, "statistic": key, "value": float(value)} for key, value in values.items()]


def _drift(layer: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Distance of the batch's statistics from the running ones that evaluation uses."""
    mean, var = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    if not isinstance(mean, Tensor) or not isinstance(var, Tensor) or mean.shape != inputs.shape[1:2]:
        return {}
    batch_var, batch_mean = torch.var_mean(inputs.float().transpose(0, 1).flatten(1), dim=1)
    small = torch.finfo(torch.float32).tiny
    return {
        "running_mean_mean": mean.mean(),
        "running_var_mean": var.mean(),
        "mean_drift": ((batch_mean - mean).square() / var.clamp_min(small)).mean().sqrt(),
        "var_drift": (batch_var.clamp_min(small) / var.clamp_min(small)).log().abs().mean(),
    }


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Run anything through a network in training mode and leave buffers, gradients and random numbers as they were."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    gradients = [parameter.grad for parameter in network.parameters()]
    training = network.training
    for parameter in network.parameters():
        parameter.grad = None
    with torch.random.fork_rng():
        try:
            yield
        finally:
            network.train(training)
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            for name, buffer in network.named_buffers():
                buffer.data.copy_(buffers[name])
