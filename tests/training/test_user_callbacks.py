"""Callbacks that a configuration names: what is built, refused and stored."""

import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, DeviceStatsMonitor, EarlyStopping

from normlab.callbacks import GradientNorm
from normlab.config.identity import digest
from normlab.config.rules import check
from normlab.config.targets import check_homes
from normlab.training import user_callbacks
from normlab.training.user_callbacks import build_callbacks, load_states, plain_states

LIGHTNING = "pytorch_lightning.callbacks"


@pytest.fixture
def config(compose):
    def make(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    return make


def built(settings):
    check(settings)
    check_homes(settings)
    return build_callbacks(settings, "cpu")


def test_no_callback_is_built_without_a_word(config):
    settings = config()
    assert "callbacks" not in settings
    assert built(settings) == {}


def test_callbacks_are_named_by_files_and_by_classes(config):
    settings = config(
        "callbacks=[gradient_norm,device_stats]",
        "callbacks.gradient_norm.every_n_steps=7",
        f"+callbacks.patience._target_={LIGHTNING}.EarlyStopping",
        "+callbacks.patience.monitor=val/loss",
    )
    found = built(settings)
    assert list(found) == ["gradient_norm", "device_stats", "patience"]
    kinds = [type(callback) for callback in found.values()]
    assert kinds == [GradientNorm, DeviceStatsMonitor, EarlyStopping]
    assert found["gradient_norm"].every_n_steps == 7
    assert found["patience"].monitor == "val/loss"


def test_a_run_with_callbacks_is_another_run(config):
    none, one = config(), config("callbacks=[gradient_norm]")
    every_second = config(
        "callbacks=[gradient_norm]", "callbacks.gradient_norm.every_n_steps=2"
    )
    assert digest(none) == digest(none | {"callbacks": {}})
    assert len({digest(none), digest(one), digest(every_second)}) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+callbacks.x.patience=1"], "callbacks.x must name its class"),
        (["+callbacks.x._target_=os.system"], "is not in a trusted package"),
        (["+callbacks.x._target_=torch.nn.Linear"], "must be a class derived from"),
        (
            [f"+callbacks.x._target_={LIGHTNING}.ModelCheckpoint"],
            "must not be a Checkpoint: normlab keeps last.ckpt",
        ),
        (
            [f"+callbacks.x._target_={LIGHTNING}.LearningRateFinder"],
            "use the command find-lr",
        ),
        (
            [f"+callbacks.x._target_={LIGHTNING}.spike.SpikeDetection"],
            "must not be a SpikeDetection: it writes a file",
        ),
        (
            [f"+callbacks.x._target_={LIGHTNING}.EarlyStopping"],
            "callbacks.x cannot be built: .*monitor",
        ),
        (
            ["callbacks=[learning_rate_monitor]", "logger=[]"],
            r"needs a logger: add logger=\[tensorboard\]",
        ),
        (
            ["callbacks=[gradient_norm]", "callbacks.gradient_norm.every_n_steps=0"],
            "must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_what_would_not_work_is_refused_before_anything_runs(
    config, overrides, message
):
    with pytest.raises(ValueError, match=message):
        built(config(*overrides))


def test_a_missing_package_is_named(config, monkeypatch):
    monkeypatch.setattr(user_callbacks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="device_stats needs the package psutil"):
        built(config("callbacks=[device_stats]"))
    settings = config(
        "callbacks=[device_stats]", "callbacks.device_stats.cpu_stats=false"
    )
    assert list(build_callbacks(settings, "cuda")) == ["device_stats"]


class Failing(Callback):
    """Fails without a word."""

    def __init__(self):
        raise AssertionError


def test_a_callback_that_fails_without_a_word_is_named():
    settings = {"callbacks": {"x": {"_target_": f"{__name__}.Failing"}}}
    message = "^callbacks.x cannot be built: AssertionError$"
    with pytest.raises(ValueError, match=message):
        build_callbacks(settings, "cpu")


class Counting(Callback):
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_states_are_stored_and_put_back_by_name():
    first, second = Counting({"n": 1, "mean": torch.ones(2)}), Counting({})
    states = plain_states({"first": first, "second": second})
    assert states == {"first": first.state}
    other, fresh = Counting({"n": 0}), Counting({"n": 5})
    load_states({"first": other, "second": fresh}, {"callbacks": states})
    assert (other.state["n"], fresh.state["n"]) == (1, 5)
    load_states({"first": other}, None)
    assert other.state["n"] == 1


def test_a_state_that_could_not_be_read_again_is_refused():
    with pytest.raises(ValueError, match="state_dict of mine must hold tensors"):
        plain_states({"mine": Counting({"function": torch.nn.Linear(1, 1)})})


def test_hooks_that_are_never_called_are_refused(config, monkeypatch):
    class Saving(Callback):
        def on_save_checkpoint(self, trainer, module, checkpoint):
            pass

    monkeypatch.setattr(user_callbacks, "build", lambda options: Saving())
    with pytest.raises(ValueError, match="on_load_checkpoint, which are never called"):
        build_callbacks(config("callbacks=[gradient_norm]"), "cpu")
