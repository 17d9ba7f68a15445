"""Lets a run report to its trial after every epoch, and stop if the pruner says so."""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

import optuna
import pytorch_lightning as pl
import torch
from optuna.trial import Trial
from pytorch_lightning.callbacks import Checkpoint

from normlab.endings import Pruned
from normlab.search.options import build_pruner
from normlab.search.storage import open_storage, trial_of
from normlab.training.checkpoints import Checkpoints, is_last_epoch
from normlab.training.tasks import Task


# At the end of an epoch, Lightning calls the callbacks that derive from `Checkpoint`
# after all others, in their order.
class ReportToTrial(Checkpoint):
    """Reports the metric of every epoch to a trial, and stops a run that is pruned.

    It must come after the checkpoints, so that a pruned run leaves one and can be
    resumed. It only reads the run and draws no random numbers of torch, so that a run
    that is not pruned has the same result as without it.

    Args:
        storage: the address of the storage, see
            `normlab.search.storage.storage_address`.
        study: the name of the search in its storage.
        number: the number of the trial.
        checkpoints: the checkpoints of the run.
    """

    def __init__(
        self,
        storage: str,
        study: str,
        number: int,
        checkpoints: Checkpoints,
    ) -> None:
        self.storage = storage
        self.study = study
        self.number = number
        self.checkpoints = checkpoints
        self.trial: Trial | None = None

    def on_fit_start(self, trainer: pl.Trainer, task: Task) -> None:
        if trainer.is_global_zero:
            self.trial, self.metric = find_trial(self.storage, self.study, self.number)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch = task.progress.epoch
        prune = False
        if self.trial is not None:
            prune = _report(self.trial, epoch, task.metrics[self.metric])
        if trainer.world_size > 1:
            # Only the first process knows the trial, but all of them must stop.
            decision = torch.tensor(prune, device=task.device)
            prune = bool(trainer.strategy.broadcast(decision))
        if prune and not is_last_epoch(trainer):
            self.checkpoints.write(trainer, task)
            raise Pruned(epoch, task.progress.seconds)


def _report(trial: Trial, epoch: int, value: float) -> bool:
    """Report the value of an epoch; returns whether the trial is to be pruned."""
    stored = trial.study.get_trials(deepcopy=False)[trial.number]
    # A resumed run repeats epochs that it has reported before.
    if epoch not in stored.intermediate_values:
        trial.report(value, epoch)
    return trial.should_prune()


def find_trial(
    storage: str,
    study_name: str,
    number: int,
) -> tuple[Trial, str]:
    """Find the trial to which a run reports.

    Args:
        storage: the address of the storage.
        study_name: the name of the search in its storage.
        number: the number of the trial.

    Returns:
        the trial, and the name of the metric that it wants.
    """
    optuna_study = optuna.load_study(
        study_name=study_name, storage=open_storage(storage)
    )
    frozen = optuna_study.get_trials(deepcopy=False)[number]
    optuna_study.pruner = build_pruner(frozen.user_attrs["pruner"])
    metric = optuna_study.user_attrs["definition"]["metric"]
    return trial_of(optuna_study, frozen), metric
