"""The loop of a run in a stack calls what Lightning's Trainer calls, in its order."""

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback

from normlab.data.blocks import TrainBlocks
from normlab.training.loop import Loop
from normlab.training.preparation import prepare

CPU = torch.device("cpu")
HOOKS = (
    *("on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start"),
    *("on_train_batch_end", "on_train_epoch_end", "on_train_end", "on_exception"),
    "teardown",
)


class Recording(Callback):
    """Keeps the names of its hooks, with what they find in the trainer."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.calls = []


def hook(name):
    def record(self, trainer, task, *arguments, stage=None):
        index = arguments[-1] if "batch" in name else None
        epoch = trainer.current_epoch
        is_last = trainer.is_last_batch if "batch_end" in name else None
        self.calls.append((name, index, epoch, is_last))
        if (name, epoch, index) == self.stop_at:
            trainer.should_stop = True
        if name == "on_train_epoch_end":
            task.train_sums = None

    return record


for name in HOOKS:
    setattr(Recording, name, hook(name))


class Logger:
    def __init__(self):
        self.ended = []

    @property
    def experiment(self):
        return None

    def finalize(self, status):
        self.ended.append(status)


@pytest.fixture
def prepared(compose):
    """prepared(): a task, and its training blocks of one batch each."""
    words = ("trainer.max_samples=40", "dataset.batch_size=8", "model.hidden=[4]")
    config = compose("device=cpu", "logger=[]", "progress=false", *words)
    config = OmegaConf.to_container(config, resolve=True)

    def build():
        found = prepare(config)
        blocks = TrainBlocks(found.parts.train, 8, 0, found.task.progress, max_steps=1)
        return found.task, blocks

    return build


def in_loop(task, blocks, callback, epochs=2):
    loop = Loop(CPU, epochs, [])
    loop.callbacks = [callback]
    loop.fit(task, blocks)
    return loop


def in_lightning(task, blocks, callback, epochs=2):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    task.publishes = False
    trainer.fit(task, train_dataloaders=blocks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "stop_at", [None, ("on_train_batch_end", 0, 1), ("on_train_epoch_end", 0, None)]
)
def test_callbacks_are_called_as_lightning_calls_them(prepared, stop_at):
    calls = []
    networks = []
    for train in (in_loop, in_lightning):
        task, blocks = prepared()
        callback = Recording(stop_at)
        train(task, blocks, callback)
        calls.append(callback.calls)
        networks.append(task.network.state_dict())
    assert calls[0] == calls[1]
    assert len(calls[0]) > 5
    for key, value in networks[0].items():
        assert torch.equal(value, networks[1][key]), key


def test_an_error_reaches_callbacks_and_loggers(prepared):
    task, blocks = prepared()

    class Failing(Recording):
        def on_train_batch_end(self, trainer, task, outputs, block, index):
            raise KeyError("here")

    callback = Failing()
    logger = Logger()
    loop = Loop(CPU, 2, [logger])
    loop.callbacks = [callback]
    with pytest.raises(KeyError):
        loop.fit(task, blocks)
    assert callback.calls[-1][0] == "on_exception"
    assert logger.ended == ["failed"]


def test_loggers_are_ended_when_training_is(prepared):
    task, blocks = prepared()
    logger = Logger()
    Loop(CPU, 1, [logger]).fit(task, blocks)
    assert logger.ended == ["success"]
    assert task.progress.steps == len(blocks)


def test_without_epochs_that_are_left_nothing_is_trained(prepared):
    task, blocks = prepared()
    callback = Recording()
    in_loop(task, blocks, callback, epochs=0)
    assert [call[0] for call in callback.calls] == ["on_fit_start", "teardown"]
