"""Explanations of the user's mistakes."""

import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
)
from omegaconf.errors import InterpolationResolutionError

from normlab.config.composition import compose_config
from normlab.config.identity import configuration_directory
from normlab.config.trust import OwnNormError
from normlab.mistakes import explain, reason

# What people who know other programs may write, and what the answer must hold.
SLIPS = {
    # keys of other programs
    "epochs=3": "did you mean 'trainer.max_epochs'?",
    "num_epochs=3": "did you mean 'trainer.max_epochs'?",
    "trainer.epochs=3": "did you mean 'trainer.max_epochs'?",
    "lr=.1": "did you mean 'optimizer.lr'?",
    "learning_rate=0.1": "did you mean 'optimizer.lr'?",
    "optimizer.learning_rate=1": "did you mean 'optimizer.lr'?",
    "batch_size=32": "did you mean 'dataset.batch_size'?",
    "bs=32": "did you mean 'dataset.batch_size'?",
    "wd=1e-4": "did you mean 'optimizer.weight_decay'?",
    "momentum=0.5": "did you mean 'norm.momentum' or 'optimizer.momentum'?",
    "dropout=0.1": "did you mean 'model.dropout'?",
    "patience=3": "did you mean 'trainer.patience'?",
    "early_stopping=true": "did you mean 'trainer.patience'?",
    "gradient_clip_val=1": "did you mean 'trainer.gradient_clip'?",
    "task.loss._target_=torch.nn.L1Loss": "yet: add it with a plus, +task.loss._",
    "task.class_weight=balanced": "did you mean 'task.class_weights'?",
    "mixup_alpha=1": "did you mean 'task.mixup'?",
    "train_fraction=0.1": "did you mean 'dataset.train_size'?",
    "loss=mse": "did you mean 'task.loss'?",
    "output_dir=x": "did you mean 'paths.outputs'?",
    "name=x": "did you mean 'group'?",
    "num_workers=4": "did you mean 'device.threads'?",
    "amp=true": "did you mean 'device.precision=bf16-mixed'?",
    "gpu=1": "did you mean 'device=cuda'?",
    "gpus=2": "did you mean 'device.devices' or 'device=cuda'?",
    "verbose=false": "did you mean 'progress'?",
    "seeds=10": "several seeds are a sweep, as in -m 'seed=range(10)'",
    "resume=true": "the same command resumes an interrupted run",
    "n_trials=5": "hydra.sweeper.n_trials belongs to hydra/sweeper=optuna, optuna_sgd",
    # another group than the right one
    "trainer.lr=0.1": "did you mean 'optimizer.lr'?",
    "model.lr=0.1": "did you mean 'optimizer.lr'?",
    "trainer.seed=1": "did you mean 'seed'?",
    "train.max_epochs=3": "did you mean 'trainer.max_epochs'?",
    "model.layers=[10]": "did you mean 'model.hidden'?",
    "trainer.precision=bf16": "did you mean 'device.precision'?",
    "data=mnist": "did you mean 'dataset'?",
    "network=mlp": "did you mean 'model'?",
    "normalization=torch": "did you mean 'norm'?",
    "lr_scheduler=cosine": "did you mean 'scheduler'?",
    # misspelt
    "optimizer.momentun=0.5": "did you mean 'optimizer.momentum'?",
    "optimzer.lr=1": "did you mean 'optimizer.lr'?",
    "batchsize=8": "did you mean 'dataset.batch_size'?",
    "modle=mlp": "did you mean 'model'?",
    # a key of another option than the picked one
    "norm.num_groups=4": "it belongs to norm=batch_channel, evonorm_s0, group",
    "norm.groups=4": "norm.num_groups belongs to norm=batch_channel, evonorm_s0, group",
    "optimizer=adam optimizer.momentum=0.9": "it belongs to optimizer=",
    "scheduler.gamma=0.3": "it belongs to scheduler=",
    "model.depth=50": "it belongs to model=resnet, vgg, vit",
    "fold=1": "dataset.fold belongs to dataset=arrays, csv, diabetes",
    # options
    "norm=batchnorm": "did you mean 'custom' or 'torch'?",
    "norm=bn": "did you mean 'custom' or 'torch'?",
    "norm=LayerNorm": "did you mean 'layer'?",
    "norm=gn": "did you mean 'group'?",
    "norm=sync_bn": "did you mean 'norm=custom norm.sync=true'?",
    "norm=null": "norm=null does not exist, did you mean 'none'?",
    "norm=None": "norm=None does not exist, did you mean 'none'?",
    "norm=torhc": "did you mean 'torch'?",
    "model=resnet18": "did you mean 'model=resnet model.depth=18'?",
    "model=vgg16": "did you mean 'model=vgg model.depth=16'?",
    "model=lenet": "did you mean 'lenet5'?",
    "model=efficientnet": "did you mean 'efficientnet_lite0'?",
    "model=densenet121": "model=torchvision model.name=NAME takes networks of",
    "optimizer=Adam": "did you mean 'adam'?",
    "scheduler=null": "did you mean 'none'?",
    "scheduler=onecycle": "did you mean 'one_cycle'?",
    "device=gpu": "did you mean 'cuda'?",
    "device=0": "device=0 does not exist, did you mean 'cuda'?",
    "device=tpu": "device=tpu does not exist; device is one of",
    "dataset=MNIST": "did you mean 'mnist'?",
    "dataset=fashion": "did you mean 'fashion_mnist'?",
    "logger=tb": "did you mean 'tensorboard'?",
    "logger=none": "did you mean 'logger=[]'?",
    "study=null": "study is null unless one is named: leave out study=null",
    # words that Hydra reads in another way
    "~trainer.patience": "it is null already",
    "~optimizer.lr=3": "~optimizer.lr=3 removes nothing: optimizer.lr is 0.1",
    "+optimizer.lr=1": "optimizer.lr exists already",
    "seed=1,2": "seed=1,2 has several values: add -m to run each of them",
    "seed=range(10)": "seed=range(10) has several values: add -m",
    "model.hidden=8,4": "add -m to run each of them, or write model.hidden=[8,4] for a",
    "logger=csv,wandb": "or write logger=[csv,wandb] for a list",
    "custom": "'custom' must be KEY=VALUE",
    "model.hidden=[8,4": "model.hidden=[8,4 cannot be read",
}


@pytest.mark.parametrize("words", SLIPS)
def test_a_slip_gets_the_right_hint(words, monkeypatch):
    overrides = words.split()
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    with (
        initialize_config_dir(str(configuration_directory()), version_base="1.3"),
        pytest.raises((HydraException, ValueError)) as caught,
    ):
        compose("config", overrides=overrides)
    explanation = explain(caught.value)
    assert SLIPS[words] in explanation
    assert "\n" not in explanation


@pytest.mark.parametrize("words", ["~foo", "zzz=1", "config=x", "xyz.abc=1"])
def test_what_resembles_nothing_gets_no_hint(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", words])
    with (
        initialize_config_dir(str(configuration_directory()), version_base="1.3"),
        pytest.raises(HydraException) as caught,
    ):
        compose("config", overrides=[words])
    key = words.lstrip("~").partition("=")[0]
    assert explain(caught.value) == (
        f"the configuration has no key {key!r}; `--cfg job` prints all keys"
    )


def test_a_slip_gets_its_hint_beside_a_named_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_MODEL", "lenet5")
    (tmp_path / "experiment").mkdir()
    text = "defaults: [{override /model: '${oc.env:MY_MODEL}'}]"
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text(f"# @package _global_\n{text}\n")
    words = ["experiment=mine", "group='${oc.env:MY_MODEL}'", "optimzer.lr=1"]
    monkeypatch.setattr(sys, "argv", ["train.py", f"--config-dir={tmp_path}", *words])
    with pytest.raises(HydraException) as caught:
        compose_config(words, tmp_path)
    assert "did you mean 'optimizer.lr'?" in explain(caught.value)


def test_an_explanation_that_fails_leaves_the_message_of_hydra(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=is_not_there"])
    error = ConfigCompositionException("Could not override 'optimzer.lr'.\nMore.\nAll.")
    assert explain(error) == "Could not override 'optimzer.lr'.\nMore."


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (ValueError("y must be 1"), "y must be 1"),
        (KeyError("y"), "KeyError: 'y'"),
        (None, "whole"),
    ],
)
def test_an_error_that_hydra_wraps_is_explained_by_its_cause(cause, text):
    error = InstantiationException(
        "Error in call to target 'normlab.data.x':\nwhole\nfull_key: dataset"
    )
    error.__cause__ = cause
    assert reason(error) == (
        f"normlab.data.x: {text}"
        if cause
        else "Error in call to target 'normlab.data.x':\nwhole"
    )


def test_a_mistake_in_a_norm_of_the_user_names_the_norm_alone():
    error = InstantiationException("Error in call to target 'normlab.models.mlp.MLP':")
    error.__cause__ = OwnNormError("MyNorm has no option 'momentom'")
    assert reason(error) == "MyNorm has no option 'momentom'"


def test_an_unknown_option_is_answered_with_those_that_exist():
    error = ConfigCompositionException(
        "Could not find 'norm/torhc'\n\nAvailable options in 'norm':\n"
        "\tnone\n\ttorch\nConfig search path:"
    )
    assert explain(error) == (
        "norm=torhc does not exist, did you mean 'torch'?; norm is one of none, torch"
    )


def test_an_error_that_says_nothing_is_explained_by_its_cause():
    error = ConfigCompositionException()
    error.__cause__ = ValueError("x must be y")
    assert explain(error) == "x must be y"


def test_other_messages_keep_their_first_two_lines():
    assert explain(ValueError("  a must be 1  \n\nb\nc")) == "a must be 1"
    assert explain(ValueError("a\nb\nc")) == "a\nb"


def test_an_unforeseen_exception_shows_its_class():
    assert reason(KeyError("x")) == "KeyError: 'x'"
    assert reason(ValueError("x must be 1")) == "x must be 1"


def test_the_message_of_a_resolver_comes_without_its_class():
    error = InterpolationResolutionError(
        "ValueError raised while resolving interpolation: x must be y\n"
        "    full_key: group\n    object_type=dict"
    )
    assert explain(error) == "x must be y\nfull_key: group"


@pytest.mark.parametrize("kind", [ValueError, HydraException, ZeroDivisionError])
def test_an_error_without_a_word_is_named_by_its_class(kind):
    assert reason(kind()) == kind.__name__
