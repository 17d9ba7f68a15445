"""The two LightningModules: a network, its loss, its scores and its optimizer."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from normlab.data.blocks import Block, Progress
from normlab.device.sharding import shard, share_buffers, without_missing_kernels
from normlab.endings import Diverged
from normlab.metrics import METRICS

REGRESSION_LOSSES = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


def sum_over_processes(values: Tensor) -> Tensor:
    """`values` summed over the processes of a distributed run; unchanged in a run of one process."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(values)
    return values


def rows_of_processes(values: Tensor) -> Tensor:
    """``(P, ...)``: the `values` of every process of a distributed run in the order of their ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values[None]
    rows = values.new_empty(distributed.get_world_size(), *values.shape)
    distributed.all_gather(list(rows.unbind()), values)
    return rows


@torch.no_grad()
def evaluate(
    task: "Task", blocks: Iterable[Block], context: Callable = nullcontext
) -> dict[str, float]:
    """Metrics of a part in evaluation mode: the one path by which anything is scored.

    Args:
        task: knows the network and the scores; comes back in the mode in which it came.
        blocks: the part's samples, each once.
        context: wraps every forward pass, as for automatic mixed precision.
    """
    training = task.network.training
    task.network.eval()
    sums = []
    for block in blocks:
        with context():
            predictions = task.network(block.inputs)
        sums.append(task.score(predictions, block.targets))
    task.network.train(training)
    return task.metrics_from(sum_over_processes(torch.stack(sums).sum(0)).tolist())


class Task(pl.LightningModule):
    """What both tasks share: blocks of optimizer steps, scores summed on the device and read once an epoch.

    Args:
        network: any module from inputs ``(N, ...)`` to predictions ``(N, num_outputs)``.
        build_optimizer: network -> optimizer.
        build_scheduler: optimizer -> scheduler, or None for a constant learning rate.
        scheduler_interval: when it steps: `step`, `epoch`, or `plateau` (every epoch, with the validation loss).
        gradient_clip: largest norm of all gradients together, or None.
    """

    automatic_optimization = (
        False  # several optimizer steps in one call, see normlab.data.blocks
    )

    def __init__(
        self,
        network: nn.Module,
        build_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        build_scheduler: Callable | None = None,
        scheduler_interval: str = "epoch",
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.build_optimizer, self.build_scheduler = build_optimizer, build_scheduler
        self.scheduler_interval, self.gradient_clip = scheduler_interval, gradient_clip
        self.scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
        self.progress = Progress()
        self.train_sums: Tensor | None = None
        self.last_loss: Tensor | None = None
        self.metrics: dict[str, float] = {}
        self.reuses_outputs = False  # a CUDA graph writes the next step's predictions where the last ones are
        self.step_seconds, self.scoring_seconds, self.timed_steps = 0.0, 0.0, 0

    def configure_model(self) -> None:
        """Lightning's hook, before there is an optimizer."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            shard(self.network, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = without_missing_kernels(
            self.network, self.build_optimizer(self.network)
        )
        if self.build_scheduler is not None:
            self.scheduler = self.build_scheduler(optimizer)
        return optimizer

    def training_step(self, block: Block, index: int) -> None:
        """One optimizer step for every batch of the block."""
        if len(block.targets) == 0:
            return
        started = time.perf_counter()
        # Lightning's wrappers call every callback three times a step; what watches a run here does so once a block.
        optimizer = self.optimizers(use_pl_optimizer=False)
        backward = (
            Tensor.backward if self.trainer.world_size == 1 else self.manual_backward
        )
        if isinstance(
            self.network, FSDPModule
        ):  # as DDP does, so that there is one state to store
            share_buffers(self.network)
        losses, predictions = [], []
        batches = zip(
            block.inputs.split(block.batch_size),
            block.targets.split(block.batch_size),
            strict=True,
        )
        for inputs, targets in batches:
            prediction = self.network(inputs)
            loss = self.loss(prediction, targets)
            optimizer.zero_grad()
            backward(loss if block.loss_scale == 1.0 else loss * block.loss_scale)
            if self.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
            optimizer.step()
            if self.scheduler is not None and self.scheduler_interval == "step":
                self.scheduler.step()
            losses.append(loss.detach())
            predictions.append(
                prediction.detach().clone()
                if self.reuses_outputs
                else prediction.detach()
            )
        self._account(
            block, torch.stack(losses), torch.cat(predictions)
        )  # reads the losses: the device is done
        self.step_seconds += time.perf_counter() - started
        self.timed_steps += len(losses)

    def _account(self, block: Block, losses: Tensor, predictions: Tensor) -> None:
        total = sum_over_processes(
            losses.clone()
        )  # NaN and infinity of one process come through
        if not total.isfinite().all():
            first = int(total.isfinite().logical_not().float().argmax())
            before = losses[first - 1] if first else self.last_loss
            raise Diverged(
                self.progress.steps + first + 1,
                float(total[first]),
                None if before is None else float(before),
            )
        self.last_loss = losses[-1]
        self.progress.steps += len(losses)
        self.progress.blocks += 1
        counts = torch.full_like(losses, block.batch_size)
        counts[-1] = len(block.targets) - block.batch_size * (len(losses) - 1)
        sums = self.score(predictions, block.targets)
        sums[1] = (losses * counts).sum()  # the loss as it was when each step was made
        self.train_sums = sums if self.train_sums is None else self.train_sums + sums

    def close_epoch(
        self, validation: Iterable[Block], context: Callable = nullcontext
    ) -> None:
        """Read the epoch's scores into `metrics` and Lightning's callback metrics, then step the scheduler."""
        train = self.metrics_from(sum_over_processes(self.train_sums).tolist())
        self.train_sums = None
        self.metrics = {f"train/{name}": value for name, value in train.items()}
        started = time.perf_counter()
        if self.trainer.world_size > 1:
            share_buffers(self.network)
        scores = evaluate(self, validation, context)
        self.scoring_seconds += time.perf_counter() - started
        self.metrics |= {f"val/{name}": value for name, value in scores.items()}
        self.log_dict(self.metrics, logger=False, sync_dist=self.trainer.world_size > 1)
        if self.scheduler is not None and self.scheduler_interval == "plateau":
            self.scheduler.step(self.metrics["val/loss"])
        elif self.scheduler is not None and self.scheduler_interval == "epoch":
            self.scheduler.step()

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch, what training descends."""
        raise NotImplementedError

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Sums over the samples from which `metrics_from` makes the metrics: count, loss, and the task's own."""
        raise NotImplementedError

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        """Metrics of a part from its sums."""
        raise NotImplementedError


class Classification(Task):
    """Cross-entropy from logits; loss and accuracy, every sample with the same weight.

    Args:
        softmax_before_loss: feed probabilities to the cross-entropy as if they were logits. With K classes the loss
            can then not fall below ``ln(e + K - 1) - 1`` and gradients shrink: a known mistake, here to be measured.
    """

    metric_names = METRICS["classification"]

    def __init__(self, *args, softmax_before_loss: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.softmax_before_loss = softmax_before_loss

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(self._logits(predictions), targets)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        loss = functional.cross_entropy(
            self._logits(predictions).float(), targets, reduction="sum"
        )
        correct = predictions.argmax(1).eq(targets).sum()
        return torch.stack(
            [torch.full_like(loss, len(targets)), loss, correct.to(loss)]
        )

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        count, loss, correct = sums
        return {"loss": loss / count, "accuracy": correct / count}

    def _logits(self, predictions: Tensor) -> Tensor:
        return predictions.softmax(1) if self.softmax_before_loss else predictions


class Regression(Task):
    """One number a sample, learned standardized and reported in its own units.

    The loss is taken of ``(target - mean) / standard deviation`` with the training part's statistics; RMSE and MAE are
    in the target's units and ``R2 = 1 - sum (y - prediction)^2 / sum (y - mean y)^2``, NaN where all y are equal.

    Args:
        target_mean: of the training part.
        target_std: of the training part; 1 for a constant target.
        loss_name: mse, mae or huber.
    """

    metric_names = METRICS["regression"]

    def __init__(
        self,
        *args,
        target_mean: float = 0.0,
        target_std: float = 1.0,
        loss_name: str = "mse",
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if loss_name not in REGRESSION_LOSSES:
            raise ValueError(
                f"task.loss must be one of {', '.join(REGRESSION_LOSSES)} for regression, got {loss_name!r}"
            )
        self.target_mean, self.target_std = target_mean, target_std
        self.loss_function = REGRESSION_LOSSES[loss_name]

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return self.loss_function(
            predictions.flatten(), (targets - self.target_mean) / self.target_std
        )

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        standardized = (targets - self.target_mean) / self.target_std
        loss = self.loss_function(
            predictions.flatten().float(), standardized, reduction="sum"
        )
        error = predictions.flatten() - standardized
        # In float32 the two sums of R2 would cancel to anything where targets hardly differ; MPS has nothing wider.
        wide = (
            standardized if standardized.device.type == "mps" else standardized.double()
        )
        return torch.stack(
            [
                torch.full_like(loss, len(targets)),
                loss,
                error.square().sum(),
                error.abs().sum(),
                wide.sum(),
                wide.square().sum(),
            ]
        )

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        count, loss, squared, absolute, total, total_squared = sums
        spread = total_squared - total**2 / count
        rounding = total_squared * count * sys.float_info.epsilon
        return {
            "loss": loss / count,
            "rmse": math.sqrt(squared / count) * self.target_std,
            "mae": absolute / count * self.target_std,
            "r2": 1 - squared / spread if count > 1 and spread > rounding else math.nan,
        }
