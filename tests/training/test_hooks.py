"""Lightning's hooks: the same calls as by Lightning's own loop, once per step."""

import os
import signal
from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback
from torch.nn import functional

from normlab.config.identity import run_folder
from normlab.data.blocks import EvaluationBlocks, Progress, TrainBlocks
from normlab.endings import Interrupted
from normlab.training.callbacks import Scoring
from normlab.training.checkpoint_files import load_latest
from normlab.training.fit import fit
from normlab.training.hooks import STEP_HOOKS, VALIDATION_HOOKS
from normlab.training.preparation import prepare
from normlab.training.trainer import quiet_lightning

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec.*", "ignore:.*does not have many workers.*"
)
EPOCH_HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_epoch_end",
    "on_train_end",
)


class Calls(Callback):
    """Notes every call of a hook with the position of the trainer and the arguments."""

    def __init__(self):
        self.calls = []

    def note(self, hook, trainer, *arguments):
        position = (trainer.current_epoch, trainer.global_step)
        self.calls.append((hook, position, *map(described, arguments)))


def noting(hook):
    def method(self, trainer, module, *arguments):
        assert trainer.lightning_module is module
        if hook == "on_before_zero_grad":  # a resumed run has no gradients yet
            arguments = [type(one).__name__ for one in arguments]
        self.note(hook, trainer, *arguments)

    return method


for hook in (*STEP_HOOKS, *VALIDATION_HOOKS, *EPOCH_HOOKS):
    setattr(Calls, hook, noting(hook))


def described(argument):
    """What two calls must share: shapes and values, or the class."""
    if isinstance(argument, torch.Tensor):
        return tuple(argument.shape), round(float(argument.detach().sum()), 3)
    if isinstance(argument, tuple | list):
        return [described(item) for item in argument]
    if isinstance(argument, dict):
        return {"loss": described(argument["loss"])}
    if isinstance(argument, torch.optim.Optimizer):
        gradients = []
        for group in argument.param_groups:
            gradients += [one.grad for one in group["params"]]
        return [
            None if one is None else round(float(one.norm()), 4) for one in gradients
        ]
    return argument


class Plain(pl.LightningModule):
    """A module as in Lightning's documentation, with automatic optimization."""

    def __init__(self, task):
        super().__init__()
        self.network = task.network
        self.build_optimizer = task.build_optimizer

    def configure_optimizers(self):
        return self.build_optimizer(self.network)

    def training_step(self, batch, batch_idx):
        inputs, targets = batch
        return functional.cross_entropy(self.network(inputs), targets)

    def validation_step(self, batch, batch_idx):
        self.network(batch[0])


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = (
            "trainer.max_epochs=2",
            "trainer.max_samples=160",
            "dataset.batch_size=32",
            "device.accelerator=cpu",
            "progress=false",
            "logger=[]",
            f"paths.outputs={tmp_path}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def fitted(settings, callback, **changes):
    """Train with a callback; what `fit` returns."""
    prepared = replace(prepare(settings), callbacks={"mine": callback}, **changes)
    folder = run_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    return fit(settings, prepared, folder)


def plain_calls(settings):
    """The calls of Lightning's own loop over the same batches."""
    prepared = prepare(settings)
    part, size = prepared.parts.train, settings["dataset"]["batch_size"]
    progress = Progress()

    class Batches(list):
        def __init__(self, blocks):
            self.blocks = blocks

        def __len__(self):
            return len(self.blocks)

        def __iter__(self):
            for block in self.blocks:
                yield block.inputs, block.targets

    class NextEpoch(Callback):
        def on_train_epoch_end(self, trainer, module):
            progress.epoch += 1
            progress.steps = trainer.global_step

    calls = Calls()
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=settings["trainer"]["max_epochs"],
            gradient_clip_val=settings["trainer"]["gradient_clip"],
            callbacks=[calls, NextEpoch()],
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            Plain(prepared.task),
            Batches(TrainBlocks(part, size, settings["seed"], progress, max_steps=1)),
            Batches(EvaluationBlocks(prepared.parts.validation)),
        )
    return calls.calls


def test_hooks_are_called_as_by_lightnings_own_loop(config):
    settings = config("trainer.gradient_clip=0.5", "optimizer.fused=false")
    calls = Calls()
    fitted(settings, calls)
    assert calls.calls == plain_calls(settings)
    names = [call[0] for call in calls.calls]
    assert names.count("on_before_optimizer_step") == 2 * 5
    assert names[2:8] == [
        "on_train_batch_start",
        "on_before_zero_grad",
        "on_before_backward",
        "on_after_backward",
        "on_before_optimizer_step",
        "on_train_batch_end",
    ]


def test_hooks_see_gradients_before_they_are_clipped(config):
    norms = []

    class Norms(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            gradients = [one.grad for one in module.network.parameters()]
            norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    fitted(config("trainer.gradient_clip=0.01"), Norms())
    assert len(norms) == 10
    assert min(norms) > 0.01


def test_a_resumed_run_calls_each_hook_once_and_ends_in_the_same_bits(config):
    class StopAt(Calls):
        """Counts steps in its state, and asks the run to stop after one of them."""

        def __init__(self, step=None):
            super().__init__()
            self.step = step
            self.seen = 0

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            self.note("on_train_batch_end", trainer, index, batch, outputs)
            self.seen += 1
            if trainer.global_step == self.step:
                os.kill(os.getpid(), signal.SIGTERM)

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    undisturbed = StopAt()
    expected = fitted(config("seed=0", "group=undisturbed"), undisturbed)

    stopped, resumed = StopAt(step=7), StopAt()
    with pytest.raises(Interrupted):
        fitted(config(), stopped)
    state = load_latest(run_folder(config()) / "checkpoints")
    assert state["callbacks"] == {"mine": {"seen": 7}}
    outcome = fitted(config(), resumed)

    def of_steps(callback):
        return [call for call in callback.calls if call[0] in STEP_HOOKS]

    assert of_steps(stopped) + of_steps(resumed) == of_steps(undisturbed)
    assert resumed.seen == undisturbed.seen == 10
    assert outcome["progress"]["steps"] == 10
    for name, value in expected["best"]["network"].items():
        assert torch.equal(value, outcome["best"]["network"][name])


def test_what_a_callback_logs_reaches_loggers_and_other_callbacks(config):
    found = {}

    class Logging(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            self.log("batch", float(index), on_step=False, on_epoch=True)

        def on_validation_epoch_end(self, trainer, module):
            self.log("val/mine", 3.0 + trainer.current_epoch)

        def on_train_epoch_end(self, trainer, module):
            found.update(trainer.callback_metrics)

    settings = config("logger=[csv]", "trainer.max_samples=144")
    fitted(settings, Logging())
    assert {"train/loss", "val/accuracy", "val/mine"} <= found.keys()
    assert float(found["val/mine"]) == 4.0
    rows = (run_folder(settings) / "csv" / "metrics.csv").read_text().splitlines()
    columns = rows[0].split(",")
    means = [row.split(",")[columns.index("batch")] for row in rows[1:]]
    # 144 training samples in batches of 32 and one of 16: batches 0 to 4.
    expected = (32 * (0 + 1 + 2 + 3) + 16 * 4) / 144
    last = [float(value) for value in means if value][-1]
    assert last == pytest.approx(expected)


def test_blocks_hold_one_batch_only_for_hooks_of_a_step(config, monkeypatch):
    lengths = []
    start = Scoring.on_train_epoch_start

    def note(self, trainer, task):
        lengths.append(trainer.num_training_batches)
        start(self, trainer, task)

    monkeypatch.setattr(Scoring, "on_train_epoch_start", note)

    class OfEpochs(Callback):
        def on_train_epoch_end(self, trainer, module):
            pass

    settings = config("trainer.max_epochs=1")
    fitted(settings, OfEpochs())
    fitted(config("trainer.max_epochs=1", "seed=1"), Calls())
    assert lengths == [1, 5]


def test_a_callback_may_stop_the_run(config):
    class StopAfterStep(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            trainer.should_stop = trainer.global_step == 3

    outcome = fitted(config(), StopAfterStep())
    assert outcome["progress"]["steps"] == 3
    assert outcome["best"]["epoch"] == 1
