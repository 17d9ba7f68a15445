"""The training loop of a run that trains together with others.

Lightning's Trainer builds a dozen objects for a run and calls every callback at some
fifty moments of an epoch. For a small network that takes many times as long as its
share of the steps of a stack. A run of a stack has one process, one device, no mixed
precision and only normlab's own callbacks. It needs no more than their hooks, which
are called here in Lightning's order.
"""

from collections.abc import Callable, Iterable, Sequence, Sized
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from normlab.data.blocks import Block
from normlab.training.hooks import implements
from normlab.training.tasks import Task


class Blocks(Iterable[Block], Sized, Protocol):
    """The blocks of an epoch, which an iterator yields one after the other."""


class Loop:
    """Trains a task, with those attributes of Lightning's Trainer that are read of it.

    Args:
        device: where the network trains.
        max_epochs: number of epochs to train.
        loggers: those of the run.
    """

    world_size = 1
    global_rank = 0
    is_global_zero = True

    def __init__(
        self, device: torch.device, max_epochs: int, loggers: Sequence[Logger]
    ) -> None:
        self.max_epochs = max_epochs
        self.loggers = loggers
        self.callbacks: list[Callback] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        self.strategy = SimpleNamespace(root_device=device)
        self.num_training_batches = 0
        self.current_epoch = 0
        self.is_last_batch = False
        self.should_stop = False
        # `StopOnSignal` tells Lightning through it to ignore a signal.
        self._signal_connector = SimpleNamespace()
        self._hooks: dict[str, list[Callable[..., None]]] = {}

    def fit(self, task: Task, train_dataloaders: Blocks) -> None:
        """Train until the last epoch, or until a callback sets `should_stop`.

        Args:
            task: the task to train.
            train_dataloaders: the blocks of every epoch.
        """
        task._trainer = self  # type: ignore[assignment] # it has what the task reads
        task.to(self.strategy.root_device)
        self.optimizers = [task.configure_optimizers()]
        for logger in self.loggers:
            getattr(logger, "experiment", None)  # creates its files, as in any run
        self.num_training_batches = len(train_dataloaders)
        try:
            self._call("on_fit_start", task)
            if self.max_epochs > 0:
                self._train(task, train_dataloaders)
        except BaseException as error:
            self._call("on_exception", task, error)
            for logger in self.loggers:
                logger.finalize("failed")
            raise
        self._call("teardown", task, stage="fit")
        for logger in self.loggers:
            logger.finalize("success")

    def _train(self, task: Task, blocks: Blocks) -> None:
        self._call("on_train_start", task)
        while self.current_epoch < self.max_epochs and not self.should_stop:
            self._call("on_train_epoch_start", task)
            self._train_epoch(task, blocks)
            self._call("on_train_epoch_end", task)
            self.current_epoch += 1
        self._call("on_train_end", task)

    def _train_epoch(self, task: Task, blocks: Blocks) -> None:
        for index, block in enumerate(blocks):
            self.is_last_batch = index + 1 == self.num_training_batches
            self._call("on_train_batch_start", task, block, index)
            output = task.training_step(block, index)
            self._call("on_train_batch_end", task, output, block, index)
            if self.should_stop:
                return

    def _call(self, name: str, *arguments: Any, **options: Any) -> None:
        """Call a hook of the callbacks that implement it."""
        hooks = self._hooks.get(name)
        if hooks is None:
            hooks = []
            for callback in self.callbacks:
                if implements(callback, Callback, [name]):
                    hooks.append(getattr(callback, name))
            self._hooks[name] = hooks
        for hook in hooks:
            hook(self, *arguments, **options)
