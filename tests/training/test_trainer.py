"""Lightning's Trainer as a run sets it up."""

import logging
import warnings

import pytest
from omegaconf import OmegaConf
from pytorch_lightning.strategies import ModelParallelStrategy

from normlab.device.devices import Device
from normlab.training.callbacks import Recorder, StopOnSignal, Terminal
from normlab.training.checkpoints import Checkpoints
from normlab.training.norm_statistics import NormStatistics
from normlab.training.preparation import prepare
from normlab.training.profiling import Profile
from normlab.training.trainer import (
    build_checkpoints,
    build_strategy,
    build_trainer,
    callbacks_after_scoring,
    quiet_lightning,
    set_callbacks,
)


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = (f"paths.outputs={tmp_path}", "device.accelerator=cpu", *overrides)
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def trainer_of(settings, folder, epochs_done=0):
    device = Device.from_config(settings["device"])
    return build_trainer(settings, device, folder, epochs_done)


def test_a_trainer_makes_the_epochs_that_are_left(config, tmp_path):
    trainer = trainer_of(config("trainer.max_epochs=10"), tmp_path, epochs_done=4)
    assert trainer.max_epochs == 6
    assert trainer.strategy.root_device.type == "cpu"
    assert (trainer.world_size, trainer.precision) == (1, "32-true")


def test_fsdp_is_the_strategy_for_pytorchs_own(config):
    def strategy(name):
        options = config(f"device={name}")["device"]
        return build_strategy(Device.from_config(options))

    assert strategy("cpu") == "auto"
    assert strategy("ddp") == "ddp"
    assert isinstance(strategy("fsdp"), ModelParallelStrategy)


@pytest.mark.parametrize(
    ("words", "names", "monitor", "mode"),
    [
        ([], ("accuracy", "loss"), "val/accuracy", "max"),
        (["trainer.monitor=val/loss"], ("accuracy", "loss"), "val/loss", "min"),
        ([], ("loss", "rmse"), "val/loss", "min"),
        (["trainer.monitor=val/r2"], ("loss", "r2"), "val/r2", "max"),
    ],
)
def test_the_best_epoch_is_that_of_the_monitored_metric(
    config, tmp_path, words, names, monitor, mode
):
    settings = config("trainer.patience=3", "checkpoint.every_n_steps=7", *words)
    checkpoints = build_checkpoints(settings, names, tmp_path, None)
    assert (checkpoints.monitor, checkpoints.mode) == (monitor, mode)
    assert (checkpoints.patience, checkpoints.every_n_steps) == (3, 7)


@pytest.mark.parametrize("shown", [True, False])
def test_callbacks_come_in_the_order_in_which_they_are_called(config, tmp_path, shown):
    settings = config(f"progress={shown}", f"profile={shown}")
    prepared = prepare(settings)
    names = prepared.task.metric_names
    checkpoints = build_checkpoints(settings, names, tmp_path, None)
    callbacks = callbacks_after_scoring(settings, prepared, checkpoints, tmp_path)
    between = [Terminal, Profile] if shown else []
    expected = [NormStatistics, Recorder, *between, Checkpoints, StopOnSignal]
    assert [type(callback) for callback in callbacks] == expected
    assert callbacks[-2] is checkpoints

    trainer = trainer_of(settings, tmp_path)
    set_callbacks(trainer, callbacks)
    assert trainer.callbacks == callbacks
    assert trainer.checkpoint_callbacks == [checkpoints]


def test_lightning_is_quiet_for_a_while_only():
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    filters = list(warnings.filters)
    with quiet_lightning(), quiet_lightning():
        assert logger.level == logging.WARNING
        warnings.warn("the treespec of something", stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)
    assert logger.level == before
    assert warnings.filters == filters
