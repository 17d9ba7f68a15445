"""Lightning's hooks of one optimizer step, for callbacks and tasks of the user's own.

Lightning calls the hooks of a step itself only under automatic optimization. A task of
normlab makes its steps in blocks, so it calls them here, in the order that Lightning
documents:

1. `on_train_batch_start` (called by Lightning), then the forward pass and the loss
2. `on_before_zero_grad`, then the gradients are set to None
3. `on_before_backward`, the backward pass, `on_after_backward`
4. `on_before_optimizer_step`, clipping of the gradients, and the optimizer's step
5. `on_train_batch_end` (called by Lightning)

While anybody implements one of these hooks, blocks hold one batch, so that each is
called once per optimizer step. The hooks get `(inputs, targets)` as batch, as from a
loader of PyTorch, and `{"loss": ..., "predictions": ...}` as outputs.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer import call
from torch import Tensor

from normlab.data.blocks import Block

STEPS_BETWEEN_LOGS = 50  # Lightning's default
BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end")
STEP_HOOKS = (
    *BATCH_HOOKS,
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
VALIDATION_HOOKS = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
)


def implements(owner: Any, base: type, names: Iterable[str]) -> bool:
    """Whether an object has a method of its own for one of the named hooks.

    Args:
        owner: a callback or a task.
        base: the class that has the hooks and does nothing in them.
        names: of the hooks.
    """
    kind = type(owner)
    return any(getattr(kind, name) is not getattr(base, name) for name in names)


def call_no_hook(name: str, *arguments: Any) -> None:
    """What a task calls in place of hooks if nobody implements them."""


def call_hook(trainer: pl.Trainer, name: str, *arguments: Any) -> None:
    """Call a hook of all callbacks, and then of the task, as Lightning does.

    These functions are private interfaces, checked against Lightning 2.6.6.

    Args:
        trainer: Lightning's trainer, which is passed to callbacks with the task.
        name: of the hook.
        arguments: of the hook, after trainer and task.
    """
    call._call_callback_hooks(trainer, name, *arguments)
    call._call_lightning_module_hook(trainer, name, *arguments)


def give_batches(owner: Any) -> None:
    """Let the batch hooks of an object get batches in place of blocks.

    An epoch that is resumed begins with empty blocks in place of those that were seen.
    The hooks are not called for these.

    Args:
        owner: a callback or a task whose blocks hold one batch.
    """
    for name in BATCH_HOOKS:
        hook = getattr(owner, name)
        setattr(owner, name, _with_batch(hook))


def _with_batch(hook: Callable[..., Any]) -> Callable[..., Any]:
    def call_with_batch(*arguments: Any) -> Any:
        passed = []
        for argument in arguments:
            if isinstance(argument, Block):
                if len(argument.targets) == 0:
                    return None
                argument = (argument.inputs, argument.targets)
            passed.append(argument)
        return hook(*passed)

    return call_with_batch


class Validation:
    """The validation blocks of an epoch, with Lightning's hooks around them.

    Iterating calls the hooks of validation. They get `(inputs, targets)` as batch, and
    no outputs: scores are summed up over all blocks. What they log is recorded as after
    a validation of Lightning's own, whose private interfaces are used for that
    (checked against Lightning 2.6.6).

    Args:
        blocks: the samples of the validation part, each of them once.
        trainer: Lightning's trainer.
    """

    def __init__(self, blocks: Iterable[Block], trainer: pl.Trainer) -> None:
        self.blocks = blocks
        self.trainer = trainer

    def __iter__(self) -> Iterator[Block]:
        trainer = self.trainer
        connector = trainer._logger_connector
        trainer.validating = True
        connector.reset_results()
        call_hook(trainer, "on_validation_start")
        call_hook(trainer, "on_validation_epoch_start")
        for index, block in enumerate(self.blocks):
            batch = (block.inputs, block.targets)
            connector.on_batch_start(batch)
            call_hook(trainer, "on_validation_batch_start", batch, index)
            yield block
            call_hook(trainer, "on_validation_batch_end", None, batch, index)
            connector.on_batch_end()
        connector.epoch_end_reached()
        call_hook(trainer, "on_validation_epoch_end")
        connector.on_epoch_end()
        connector.log_eval_end_metrics(connector.update_eval_epoch_metrics())
        call_hook(trainer, "on_validation_end")
        connector.reset_results()
        trainer.training = True


class Counters(Callback):
    """Sets Lightning's counters to the position of the run, before all other callbacks.

    Lightning counts the steps of automatic optimization only, and begins at zero when a
    run is resumed. The counters are private interfaces, checked against Lightning
    2.6.6.
    """

    def on_fit_start(self, trainer: pl.Trainer, task: Any) -> None:
        epochs_done = task.progress.epoch
        counter = trainer.fit_loop.epoch_progress.current
        for name in ("ready", "started", "processed", "completed"):
            setattr(counter, name, epochs_done)
        assert trainer.max_epochs is not None  # every run sets it
        trainer.fit_loop.max_epochs = trainer.max_epochs + epochs_done
        self._set_steps(trainer, task)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Any) -> None:
        num_batches = int(trainer.num_training_batches)
        steps = min(STEPS_BETWEEN_LOGS, num_batches)
        trainer.log_every_n_steps = steps  # type: ignore[attr-defined] # by a connector

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Any, batch: Any, index: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        loop._batches_that_stepped = task.progress.steps
        # What is logged is averaged by this; from a block it could only be guessed.
        loop._results.batch_size = len(batch.targets)
        self._set_steps(trainer, task)

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        self._set_steps(trainer, task)

    def _set_steps(self, trainer: pl.Trainer, task: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        counter = loop.manual_optimization.optim_step_progress.total
        counter.completed = task.progress.steps


def loss_and_predictions(losses: list[Tensor], predictions: list[Tensor]) -> dict:
    """The outputs of a step, which `on_train_batch_end` gets."""
    return {"loss": losses[-1], "predictions": predictions[-1]}
