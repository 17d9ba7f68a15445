"""What every norm layer does to its activations, sampled once in a while: `statistics.csv` and TensorBoard.

The probe is one extra forward and backward pass over samples of the training part. It leaves no trace in the run:
buffers, gradients and random numbers are put back. `benchmarks/norm_statistics.py` measures what it costs.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from normlab.data.blocks import Block
from normlab.training.callbacks import append_rows
from normlab.training.tasks import Task

PROBE_SAMPLES = 256
SAMPLED_VALUES = 8192  # of a tensor, for quantiles and histograms
HISTOGRAM_BINS = 30  # as many as TensorBoard draws; its own 1549 take most of the time
LEAST_STEPS = 400  # between two records, one of which takes as long as some twenty steps of a small network
QUANTILES = {"activation_q15": 0.15, "activation_q50": 0.5, "activation_q85": 0.85}


class NormStatistics(Callback):
    """Records statistics of the norm layers and of the weights' gradients.

    In the first epoch, in the last, and every `every_n_epochs` epochs between, but not before `LEAST_STEPS` optimizer
    steps have gone by.

    Args:
        layers: the norm layers by name, in the order of depth.
        folder: the run folder.
        every_n_epochs: 0 records nothing.
        histograms: also histograms of scale, shift, running statistics, activations and gradients in TensorBoard.
    """

    def __init__(
        self,
        layers: dict[str, nn.Module],
        folder: Path,
        every_n_epochs: int,
        histograms: bool,
    ) -> None:
        self.layers, self.folder = layers, folder
        self.every_n_epochs, self.histograms = every_n_epochs, histograms
        self.block: Block | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Task, block: Block, index: int
    ) -> None:
        if len(block.targets):
            self.block = block

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch, block, self.block = task.progress.epoch + 1, self.block, None
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = is_due(epoch, task.progress.steps, self.every_n_epochs, last)
        if not due or block is None or trainer.world_size > 1:
            return
        seen = probe(
            task,
            self.layers,
            block.inputs[:PROBE_SAMPLES],
            block.targets[:PROBE_SAMPLES],
        )
        rows = statistics_of(self.layers, seen)
        if not rows:
            return
        position = {"epoch": epoch, "step": task.progress.steps}
        append_rows(self.folder / "statistics.csv", [position | row for row in rows])
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                self._to_tensorboard(logger.experiment, rows, seen, epoch)

    def _to_tensorboard(
        self, writer: SummaryWriter, rows: list[dict], seen: "Probe", epoch: int
    ) -> None:
        # TensorBoard sorts by name; "within" comes after "train" and "val", where the curves are.
        for row in rows:
            writer.add_scalar(
                f"within {row['statistic']}/{row['layer']}", row["value"], epoch
            )
        if self.histograms:
            for name, layer in self.layers.items():
                tensors = dict(layer.state_dict())
                if name in seen.layers:
                    output = seen.layers[name].output
                    tensors |= {"activation": output.detach(), "gradient": output.grad}
                for key, tensor in tensors.items():
                    if (
                        tensor is not None
                        and tensor.is_floating_point()
                        and tensor.numel() > 1
                    ):
                        add_histogram(writer, f"within {name}/{key}", tensor, epoch)


def is_due(epoch: int, steps: int, every_n_epochs: int, last: bool) -> bool:
    """Whether this epoch is recorded: a function of the position alone, so that a resumed run records the same.

    Args:
        epoch: the one that ends, from 1.
        steps: optimizer steps so far, as many in every epoch.
        every_n_epochs: 0 records nothing.
        last: no epoch follows.
    """
    if every_n_epochs == 0:
        return False
    interval = every_n_epochs * math.ceil(
        LEAST_STEPS * epoch / max(steps, 1) / every_n_epochs
    )
    return last or epoch == 1 or epoch % interval == 0


class Seen(NamedTuple):
    """What went into a norm layer and what came out, the latter with its gradient."""

    inputs: Tensor
    output: Tensor


class Probe(NamedTuple):
    """One forward and backward pass: every norm layer by name, and the norm of every weight tensor's gradient."""

    layers: dict[str, Seen]
    weight_gradients: dict[str, Tensor]


def add_histogram(writer: SummaryWriter, tag: str, tensor: Tensor, epoch: int) -> None:
    """Hand a tensor's histogram to TensorBoard; not finite ones are left out, the scalars tell of them."""
    values = sample(tensor).cpu().double().numpy()  # whose squares do not overflow
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


def sample(tensor: Tensor) -> Tensor:
    """About `SAMPLED_VALUES` values or all, evenly spaced over samples, channels and positions alike."""
    flat = tensor.detach().float().flatten()
    step = max(1, len(flat) // SAMPLED_VALUES)
    while (
        math.gcd(step, len(flat)) > 1
    ):  # a step that divides the size would meet the same channels again and again
        step += 1
    return flat[::step]


def probe(
    task: Task, layers: dict[str, nn.Module], inputs: Tensor, targets: Tensor
) -> Probe:
    """One batch, forward and backward in training mode.

    Args:
        task: the network and its loss.
        layers: norm layers by name.
        inputs: ``(N, ...)`` ready for the network.
        targets: ``(N,)``.
    """
    seen: dict[str, Seen] = {}

    def remember(name: str):
        def hook(
            layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor
        ) -> None:
            if output.requires_grad:
                output.retain_grad()
            seen[name] = Seen(arguments[0].detach(), output)

        return hook

    handles = [
        layer.register_forward_hook(remember(name)) for name, layer in layers.items()
    ]
    try:
        # Hooks would be compiled in, and kept gradients end a compiled graph: one pass is not worth either.
        eagerly = torch.compiler.set_stance("force_eager")
        with unchanged(task.network), torch.enable_grad(), eagerly:
            parameters = {
                name: value
                for name, value in task.network.named_parameters()
                if value.requires_grad
            }
            if parameters:
                task.loss(task.network.train()(inputs), targets).backward(
                    inputs=list(parameters.values())
                )
            gradients = {
                name: value.grad.float().norm()
                for name, value in weights(parameters).items()
                if value.grad is not None
            }
    finally:
        for handle in handles:
            handle.remove()
    return Probe(seen, gradients)


def weights(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight matrices and kernels by the name of their layer, a reparametrized one by its own."""
    found = {}
    for name, value in parameters.items():
        plain = re.sub(r"parametrizations\.(\w+)\.original1?$", r"\1", name)
        if value.ndim > 1 and plain.rpartition(".")[2].startswith("weight"):
            found[plain.removesuffix(".weight")] = value
    return found


def statistics_of(layers: dict[str, nn.Module], seen: Probe) -> list[dict]:
    """Statistics of every norm layer, and gradient norms by depth, as rows of layer, statistic, value."""
    found = [
        (name, _values(layer, *seen.layers[name]))
        for name, layer in layers.items()
        if name in seen.layers
    ]
    found += [
        (name, {"weights_gradient_norm": norm})
        for name, norm in seen.weight_gradients.items()
    ]
    # Read all at once: on a GPU every single number would wait for the device.
    numbers = iter(
        torch.stack(
            [value.float() for _, values in found for value in values.values()]
        ).tolist()
        if found
        else []
    )
    return [
        {"layer": name, "statistic": key, "value": next(numbers)}
        for name, values in found
        for key in values
    ]


def _values(layer: nn.Module, inputs: Tensor, output: Tensor) -> dict[str, Tensor]:
    values = {}
    for key in ("weight", "bias"):
        parameter = getattr(layer, key, None)
        if isinstance(parameter, Tensor) and parameter.numel() > 1:
            values |= {
                f"{key}_mean": parameter.detach().mean(),
                f"{key}_std": parameter.detach().std(),
            }
    values |= _drift(layer, inputs)
    flat = sample(output)
    quantiles = torch.quantile(
        flat, torch.tensor(list(QUANTILES.values()), device=flat.device)
    )
    values |= dict(zip(QUANTILES, quantiles, strict=True))
    channels = output.detach().transpose(0, 1).flatten(1)
    values["dead_fraction"] = (
        (channels.amax(1) <= 0).float().mean()
    )  # zero after a ReLU for every sample
    if output.grad is not None:
        values["gradient_norm"] = output.grad.float().norm()
    return values


def _drift(layer: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Distance of the batch's statistics from the running ones that evaluation uses."""
    mean, var = (
        getattr(layer, "running_mean", None),
        getattr(layer, "running_var", None),
    )
    if (
        not isinstance(mean, Tensor)
        or not isinstance(var, Tensor)
        or mean.shape != inputs.shape[1:2]
    ):
        return {}
    batch_var, batch_mean = torch.var_mean(
        inputs.float().transpose(0, 1).flatten(1), dim=1
    )
    small = torch.finfo(torch.float32).tiny
    return {
        "batch_mean_mean": batch_mean.mean(),
        "batch_var_mean": batch_var.mean(),
        "running_mean_mean": mean.mean(),
        "running_var_mean": var.mean(),
        "mean_drift": ((batch_mean - mean).square() / var.clamp_min(small))
        .mean()
        .sqrt(),
        "var_drift": (batch_var.clamp_min(small) / var.clamp_min(small))
        .log()
        .abs()
        .mean(),
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
            for parameter, gradient in zip(
                network.parameters(), gradients, strict=True
            ):
                parameter.grad = gradient
            for name, buffer in network.named_buffers():
                buffer.data.copy_(buffers[name])
