"""A run reports to its trial after every epoch, and stops where the study's pruner says so."""

import optuna
import pytorch_lightning as pl
import torch
from optuna.trial import Trial
from pytorch_lightning.callbacks import Checkpoint

from normlab.endings import Pruned
from normlab.search.options import build_pruner
from normlab.search.storage import open_storage
from normlab.training.checkpoints import Checkpoints, is_last_epoch
from normlab.training.tasks import Task


class ReportToTrial(
    Checkpoint
):  # Lightning asks these last at the end of an epoch, in their order
    """Comes after the checkpoints: a pruned run leaves one and can be gone on with.

    It only reads the run and draws no random numbers of torch: a run that is not pruned is what it would be without.

    Args:
        storage: address of the storage, see `normlab.search.storage.open_storage`.
        study: name of the study.
        number: of the trial.
        checkpoints: of the run.
    """

    def __init__(
        self, storage: str, study: str, number: int, checkpoints: Checkpoints
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
        prune = self.trial is not None and self._report(
            task.progress.epoch, task.metrics[self.metric]
        )
        if (
            trainer.world_size > 1
        ):  # the first process knows the trial, all of them stop
            prune = bool(
                trainer.strategy.broadcast(torch.tensor(prune, device=task.device))
            )
        if prune and not is_last_epoch(trainer):
            self.checkpoints.write(trainer, task)
            raise Pruned(task.progress.epoch, task.progress.seconds)

    def _report(self, epoch: int, value: float) -> bool:
        study, number = self.trial.study, self.trial.number
        if (
            epoch not in study.get_trials(deepcopy=False)[number].intermediate_values
        ):  # a resumed run has some already
            self.trial.report(value, epoch)
        return self.trial.should_prune()


def find_trial(storage: str, study_name: str, number: int) -> tuple[Trial, str]:
    """The trial that a run reports to, and the metric that it reports."""
    study = optuna.load_study(study_name=study_name, storage=open_storage(storage))
    frozen = study.get_trials(deepcopy=False)[number]
    study.pruner = build_pruner(frozen.user_attrs["pruner"])
    return Trial(study, frozen._trial_id), study.user_attrs["definition"]["metric"]
