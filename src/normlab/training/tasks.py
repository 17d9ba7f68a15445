"""A network with its loss, its metrics and its optimizer: what both tasks share.

The two LightningModules are `normlab.training.classification.Classification` and
`normlab.training.regression.Regression`.
"""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from normlab.data.batches import ceil_div
from normlab.data.blocks import Block, Progress
from normlab.device.sharding import avoid_fused_kernels, broadcast_buffers, shard
from normlab.training.averaging import Averaging
from normlab.training.clipping import clip_adaptively
from normlab.training.collectives import sum_over_processes
from normlab.training.divergence import check_finite
from normlab.training.evaluation import evaluate
from normlab.training.hooks import call_no_hook, loss_and_predictions
from normlab.training.scheduling import Scheduler, step_after_batch, step_after_epoch
from normlab.training.scores import Outputs, numbers_only
from normlab.training.steps import backpropagate, backpropagate_nearby
from normlab.training.together import NONE, Parts, Predicted, Request, Stack
from normlab.training.unfinished import UnfinishedBlock, made_batches


class Task(pl.LightningModule):
    """What both tasks share: optimizer steps in blocks, and metrics from running sums.

    The sums stay on the device until the epoch ends, since reading them waits for it.

    Args:
        network: any module from inputs ``(N, ...)`` to predictions
            ``(N, num_outputs)``.
        build_optimizer: a function from the network to its optimizer.
        build_scheduler: a function from the optimizer to its learning rate scheduler,
            or None for a constant learning rate.
        scheduler_interval: when the scheduler steps: `step` (every optimizer step),
            `epoch`, or `plateau` (every epoch, given the validation loss).
        gradient_clip: largest norm of all gradients taken as one vector, or None for no
            clipping.

    Attributes:
        adaptive_clip: limit of `clip_adaptively`, None for none.
        metric_names: names of the metrics that the task computes for every part.
        progress: how far training has come.
        metrics: the latest epoch's metrics by name, such as `val/loss`.
        train_sums: sums of the running epoch's scores, None before its first block.
        unfinished: batches of the running block that were made before a signal.
        on_stop: called after the running batch, if a signal asks the run to stop.
        call_hook: calls a hook of Lightning, if anybody implements one of a step, see
            `normlab.training.hooks`.
        build_averaging: a function from the network and its optimizer to an average of
            the weights, called once both are on their device.
        averaging: the average of the weights that is scored, None if there is none.
        stack: makes the optimizer steps of runs that train together; None for a run
            by itself, see `normlab.training.together`.
        scored_parts: the parts that are scored after every epoch, by name.
        predicted: what the stack has computed of them in the running epoch, by name.
        deadline: time on `time.monotonic` after which no step begins, None if there is
            none.
        left_out_steps: whether the deadline has left out steps of the latest block.
        ended_by: what ended training early, see `normlab.training.limits`; None if
            nothing did.
        publishes: whether the metrics become Lightning's callback metrics, which takes
            as long as a few steps of a small network.
        scores_outputs: whether the numbers among `final_scores` of validation are
            computed after every epoch.
        epoch_samples: number of samples that the latest epoch was trained on.
        last_loss: training loss of the latest optimizer step.
        reuses_outputs: whether the network writes the predictions of every step into
            the same memory, as a CUDA graph does.
        step_seconds: time spent in `timed_steps` optimizer steps by this process.
        scoring_seconds: time spent on scoring after epochs by this process.
    """

    # One call of `training_step` makes several optimizer steps: normlab.data.blocks.
    automatic_optimization = False

    metric_names: tuple[str, ...]

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
        self.build_optimizer = build_optimizer
        self.build_scheduler = build_scheduler
        self.scheduler_interval = scheduler_interval
        self.gradient_clip = gradient_clip

        self.adaptive_clip: float | None = None
        self.scheduler: Scheduler | None = None
        self.progress = Progress()
        self.metrics: dict[str, float] = {}
        self.train_sums: Tensor | None = None
        self.unfinished: UnfinishedBlock | None = None
        self.on_stop: Callable[[], None] | None = None
        self.call_hook: Callable[..., None] = call_no_hook
        self.build_averaging: Callable[..., Averaging | None] | None = None
        self.averaging: Averaging | None = None
        self.stack: Stack | None = None
        self.scored_parts: Parts = NONE
        self.predicted: dict[str, Predicted] = {}
        self.deadline: float | None = None
        self.left_out_steps = False
        self.ended_by: str | None = None
        self.publishes = True
        self.scores_outputs = False
        self.epoch_samples = 0
        self.last_loss: Tensor | None = None
        self.reuses_outputs = False

        self.step_seconds = 0.0
        self.timed_steps = 0
        self.scoring_seconds = 0.0

    def configure_model(self) -> None:
        """Shard the network if the run asks for it. Lightning calls this first."""
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            assert self.device_mesh is not None  # the strategy has just set it
            shard(self.network, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimizer and its scheduler; the scheduler is stepped by us."""
        optimizer = self.build_optimizer(self.network)
        optimizer = avoid_fused_kernels(self.network, optimizer)
        if self.build_scheduler is not None:
            self.scheduler = self.build_scheduler(optimizer)
        if self.build_averaging is not None:
            self.averaging = self.build_averaging(self.network, optimizer)
        return optimizer

    @property
    def scored_network(self) -> nn.Module:
        """The network that validation scores and that is stored."""
        return self.network if self.averaging is None else self.averaging.network

    def training_step(self, block: Block, index: int) -> dict[str, Tensor] | None:
        """Make one optimizer step for every batch of the block.

        A stop signal is handled after the running batch, whatever is left of the block.
        After the deadline of a run the rest of the block is left out.

        Returns:
            for hooks of a step, its `loss` and `predictions`; None if there are none.

        Raises:
            Diverged: a loss is not finite.
            Interrupted: a signal stopped the run; its state is on disk.
        """
        if len(block.targets) == 0:
            return None
        started = self.clock()
        # DDP broadcasts the buffers of the first process before a forward pass. A
        # sharded network has to do it itself, or there would not be one state to store.
        if isinstance(self.network, FSDPModule):
            broadcast_buffers(self.network)

        losses, predictions, self.unfinished = made_batches(self.unfinished, block)
        done_before = len(losses)
        # A resumed run may have made all of a block, since a stack has shorter ones.
        is_made = done_before == ceil_div(len(block.targets), block.batch_size)
        if self.stack is not None and not is_made:
            request = Request(self, block, done_before)
            if self.trainer.is_last_batch:
                request = request._replace(scored=self.scored_parts)
            answer = self.stack.train(request)
            if answer is not None:
                losses += answer.losses.unbind()
                predictions.append(answer.predictions)
                self.predicted |= answer.predicted
        block = self._make_steps(block, losses, predictions)

        # This reads the losses, so that the device has finished when the clock is read.
        self._account(block, torch.stack(losses), torch.cat(predictions))
        self.step_seconds += self.clock() - started
        self.timed_steps += len(losses) - done_before
        if self.call_hook is call_no_hook:
            return None
        return loss_and_predictions(losses, predictions)

    def _make_steps(
        self, block: Block, losses: list[Tensor], predictions: list[Tensor]
    ) -> Block:
        """Make the steps of a block that are not made yet.

        Args:
            block: the block.
            losses: of the batches that are made; those of the others are added.
            predictions: the same of their samples.

        Returns:
            the block, without what the deadline left out.
        """
        # Lightning's wrappers of the optimizer and of the backward pass call every
        # callback three times per step. Callbacks act once per block here, unless one
        # of them, or this task, implements a hook of a step.
        num_batches = ceil_div(len(block.targets), block.batch_size)
        if len(losses) == num_batches:
            return block
        optimizer = self.trainer.optimizers[0]
        exchange: Callable[[Tensor], None] = Tensor.backward
        if self.trainer.world_size > 1:
            exchange = self.manual_backward
        has_hooks = self.call_hook is not call_no_hook
        backward = self.manual_backward if has_hooks else exchange
        perturbs = hasattr(optimizer, "perturbed")

        def clear() -> None:
            self.call_hook("on_before_zero_grad", optimizer)
            optimizer.zero_grad()

        batches = zip(
            block.inputs.split(block.batch_size),
            block.targets.split(block.batch_size),
            strict=True,
        )
        for inputs, targets in islice(batches, len(losses), None):
            loss, prediction = backpropagate(
                self, block, inputs, targets, clear, backward
            )
            if perturbs:
                backpropagate_nearby(self, block, inputs, targets, optimizer, exchange)
            self.call_hook("on_before_optimizer_step", optimizer)
            self.shorten_gradients()
            optimizer.step()
            if self.averaging is not None:
                self.averaging.after_step()
            step_after_batch(self.scheduler, self.scheduler_interval)

            losses.append(loss)
            predictions.append(prediction)
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.left_out_steps = len(losses) < num_batches
                return block.first_batches(len(losses))
            if self.on_stop is not None and len(losses) < num_batches:
                self._stop_within_block(losses, predictions, self.on_stop)
        return block

    def shorten_gradients(self) -> None:
        """Shorten the gradients as the run is configured to."""
        if self.adaptive_clip is not None:
            clip_adaptively(self.network, self.adaptive_clip)
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)

    def clock(self) -> float:
        """Seconds on a clock that stands still while a run of a stack waits."""
        apart = 0.0 if self.stack is None else self.stack.apart.seconds
        return time.perf_counter() - apart

    def _stop_within_block(
        self,
        losses: list[Tensor],
        predictions: list[Tensor],
        stop: Callable[[], None],
    ) -> None:
        """Stop the run, or continue if the signal was only noted."""
        made = torch.stack(losses)
        check_finite(made, self.progress.steps, self.last_loss)
        self.unfinished = UnfinishedBlock(made, torch.cat(predictions))
        stop()
        self.unfinished = None

    def _account(self, block: Block, losses: Tensor, predictions: Tensor) -> None:
        """Check a block's losses and add its scores to the sums of the epoch.

        Args:
            block: the block that was trained on.
            losses: mean loss of every batch ``(K,)``.
            predictions: predictions of all its samples, as they were in training.
        """
        check_finite(losses, self.progress.steps, self.last_loss)
        self.last_loss = losses[-1]
        self.progress.steps += len(losses)
        self.progress.blocks += 1

        counts = torch.full_like(losses, block.batch_size)
        counts[-1] = len(block.targets) - block.batch_size * (len(losses) - 1)
        sums = self.score(predictions, block.targets)
        sums[1] = (losses * counts).sum()  # the loss by which each step was made
        if self.train_sums is None:
            self.train_sums = sums
        else:
            self.train_sums = self.train_sums + sums

    def close_epoch(
        self, validation: Iterable[Block], context: Callable = nullcontext
    ) -> None:
        """Compute the metrics of the epoch, then step the learning rate scheduler.

        The metrics become `metrics`, and Lightning's callback metrics if anybody may
        read these.

        Args:
            validation: the samples of the validation part, each of them once.
            context: a context manager around every forward pass, see `evaluate`.
        """
        assert self.train_sums is not None  # an epoch has at least one batch
        sums = sum_over_processes(self.train_sums).tolist()
        self.epoch_samples = round(sums[0])
        train = self.metrics_from(sums)
        self.train_sums = None
        self.metrics = {f"train/{name}": value for name, value in train.items()}

        started = self.clock()
        if self.trainer.world_size > 1:
            broadcast_buffers(self.network)
        if self.averaging is not None:
            self.averaging.close_epoch(self.progress.epoch + 1)
        outputs = Outputs() if self.scores_outputs else None
        scores = self._evaluate("val", validation, context, outputs)
        if outputs is not None:
            outputs.gather(self.device)
            scores |= self._scores_of(*outputs.joined())
        self.scoring_seconds += self.clock() - started
        self.metrics |= {f"val/{name}": value for name, value in scores.items()}
        if self.publishes:
            is_shared = self.trainer.world_size > 1
            self.log_dict(self.metrics, logger=False, sync_dist=is_shared)

        step_after_epoch(
            self.scheduler, self.scheduler_interval, lambda: self.metrics["val/loss"]
        )

    def _scores_of(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The numbers among the final scores; NaN where outputs are not finite."""
        names = self.final_score_names(outputs.shape[-1])
        unknown = dict.fromkeys(names, math.nan)
        return unknown | numbers_only(self.final_scores(outputs, targets))

    def score_test(
        self, test: Iterable[Block], context: Callable = nullcontext
    ) -> None:
        """Add the scores of the test part to the metrics of the epoch.

        Args:
            test: the samples of the test part, each of them once.
            context: a context manager around every forward pass, see `evaluate`.
        """
        started = self.clock()
        scores = self._evaluate("test", test, context)
        self.scoring_seconds += self.clock() - started
        self.metrics |= {f"test/{name}": value for name, value in scores.items()}

    def _evaluate(
        self,
        part: str,
        blocks: Iterable[Block],
        context: Callable,
        outputs: Outputs | None = None,
    ) -> dict[str, float]:
        """Score a part by what the stack has computed of it, or by its blocks."""
        network = self.scored_network
        predicted = self.predicted.pop(part, None)
        if predicted is None or self.stack is None:
            return evaluate(self, blocks, context, outputs, network)
        self.stack.share(predicted.share)
        known = [(predicted.outputs, predicted.targets)]
        return evaluate(self, blocks, context, outputs, network, known)

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The training loss, a mean over the batch.

        Args:
            predictions: output of the network ``(N, num_outputs)``.
            targets: classes or numbers to predict ``(N,)``.
        """
        return self.loss_of(predictions, self.learned(targets))

    def learned(self, targets: Tensor) -> Tensor:
        """What the network learns in place of targets; the targets themselves here."""
        return targets

    def loss_of(self, predictions: Tensor, learned: Tensor) -> Tensor:
        """The loss by what the network learns.

        It depends on nothing that the data of a run determine, so that runs of one
        stack share it.

        Args:
            predictions: output of the network ``(N, num_outputs)``.
            learned: what `learned` returned ``(N,)``.
        """
        raise NotImplementedError

    def weight_of(self, targets: Tensor) -> Tensor | None:
        """The sum of the weights of samples in the loss; None if all weigh the same.

        By these sums, parts of a step are weighed that different passes or processes
        compute.

        Args:
            targets: of the samples ``(N,)``, before `learned`.
        """
        return None

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Sums over samples, from which `metrics_from` computes the metrics.

        Args:
            predictions: output of the network ``(N, num_outputs)``.
            targets: classes or numbers to predict ``(N,)``.

        Returns:
            A vector: the number of samples, the summed loss, and the task's own sums.
        """
        raise NotImplementedError

    def predictions_from(self, outputs: Tensor) -> Tensor:
        """What the outputs of the network ``(N, num_outputs)`` say of each sample."""
        raise NotImplementedError

    def final_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Scores that need all samples of a part at once; none unless a task has some.

        Args:
            outputs: of the network for the whole part ``(N, num_outputs)``.
            targets: classes or numbers to predict ``(N,)``.

        Returns:
            Numbers by name, and lists.
        """
        return {}

    def final_score_names(self, num_outputs: int) -> tuple[str, ...]:
        """The names of the numbers among `final_scores`."""
        return ()

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        """The metrics of a part from the sums of its `score` vectors."""
        raise NotImplementedError
