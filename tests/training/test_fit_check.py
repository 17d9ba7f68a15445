"""Batches that do not fit are refused before any data are read."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.device.devices import Device
from normlab.norms import GroupNorm, InstanceNorm
from normlab.training.fit_check import (
    check_fit,
    declared_input,
    idle_layers,
    resolve_image_size,
)
from normlab.training.preparation import prepare


@pytest.fixture
def config(compose):
    def make(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    return make


def checked(settings, shape=(1, 8, 8), num_outputs=10, **options):
    device = Device.from_config(settings["device"])
    return check_fit(settings, device, shape, num_outputs, **options)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["model=mlp"], 8),
        (["model=lenet5"], 28),
        (["model=mlp", "dataset.image_size=12"], 12),
        (["dataset=diabetes", "model=tabular"], None),
        (["dataset.shape=null"], None),
    ],
)
def test_images_get_the_size_that_the_model_needs(config, words, size):
    assert resolve_image_size(config(*words)) == size


def test_images_smaller_than_the_model_needs_are_refused(config):
    settings = config("model=lenet5", "dataset.image_size=8")
    with pytest.raises(
        ValueError,
        match="^model=lenet5 needs images of at least 28 pixels a side, got "
        "dataset.image_size=8; leave dataset.image_size out or raise it$",
    ):
        resolve_image_size(settings)


@pytest.mark.parametrize(
    ("options", "image_size", "expected"),
    [
        ({"shape": [3, 8, 8], "num_classes": 5}, 32, ((3, 32, 32), 5)),
        ({"shape": [3, None, None], "num_classes": None}, 32, ((3, 32, 32), 2)),
        ({"shape": [10], "num_classes": None}, None, ((10,), 1)),
        ({"shape": None, "num_classes": None}, None, None),
    ],
)
def test_a_configuration_declares_its_input(options, image_size, expected):
    assert declared_input(options, image_size) == expected


def test_a_training_step_costs_three_forward_passes(config):
    settings = config("model.hidden=[4]", "norm=none", "dataset.batch_size=5")
    forward = 2 * 5 * (64 * 4 + 4 * 10)
    assert checked(settings).flops == 3 * forward


def test_features_cost_less_than_images(config):
    settings = config("model.hidden=[4]", "norm=none", "dataset.batch_size=5")
    smaller = checked(settings, (1, 8, 8), 10, feature_shape=(64,))
    assert smaller == checked(settings)  # the network flattens images itself
    with pytest.raises(ValueError, match="cannot take batches of 5 x 1 x 8 x 8"):
        checked(settings, (1, 8, 8), 10, feature_shape=(32,))


def test_what_does_not_fit_is_refused_with_its_reason(config):
    with pytest.raises(
        ValueError,
        match="^model=mlp norm=custom cannot take batches of 1 x 1 x 8 x 8: .*more "
        "than one value per channel",
    ):
        checked(config("dataset.batch_size=1"))


class OnlyOnRealDevices(nn.Module):
    """Uses an operator that PyTorch's meta device does not have."""

    def forward(self, x):
        raise NotImplementedError


def test_operators_without_a_meta_kernel_are_not_judged(config, monkeypatch):
    monkeypatch.setattr(
        "normlab.training.fit_check.build_network",
        lambda *arguments: (OnlyOnRealDevices(), {}),
    )
    assert checked(config()) == (float("inf"), [])


class SecondChannel(nn.Module):
    """Takes images of two channels or more."""

    def forward(self, x):
        return x[:, 1]


def test_a_missing_channel_is_refused_with_its_reason(config, monkeypatch):
    monkeypatch.setattr(
        "normlab.training.fit_check.build_network",
        lambda *arguments: (SecondChannel(), {}),
    )
    with pytest.raises(ValueError, match="x 1 x 8 x 8: index 1 is out of bounds"):
        checked(config())


def test_layers_are_idle_if_no_call_of_them_did_anything():
    layers = {"images": InstanceNorm(4, 2), "vectors": InstanceNorm(4, 1)}
    layers |= {"both": InstanceNorm(4, 1), "unused": InstanceNorm(4, 1)}
    layers["other"] = GroupNorm(4, 1, 2)
    with idle_layers(layers) as idle:
        layers["vectors"](torch.zeros(2, 4))
        layers["both"](torch.zeros(2, 4))
        layers["both"](torch.zeros(2, 4, 3))
        layers["images"](torch.zeros(2, 4, 3, 3))
        layers["other"](torch.zeros(2, 4))
        layers["vectors"](torch.zeros(2, 4))
    assert idle == ["vectors"]
    layers["both"](torch.zeros(2, 4))
    assert not any(layer._forward_pre_hooks for layer in layers.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dataset.validation=0.0005"],
            "validation part must hold a sample for each of 2 processes, it has 1",
        ),
        (
            ["dataset.batch_size=1"],
            "batch_size must be at least device.devices, one sample each: got 1 for 2",
        ),
        (["dataset.batch_size=2"], "cannot take batches of 1 x 1 x 8 x 8"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(config, words, message):
    shared = ("device=ddp", "device.accelerator=cpu", "dataset.split=random")
    with pytest.raises(ValueError, match=message):
        prepare(config(*shared, *words))


@pytest.mark.parametrize(("batch_size", "sync"), [(31, True), (2, True), (31, False)])
def test_batches_that_can_be_shared_are_taken(config, batch_size, sync):
    words = ("device=ddp", "device.accelerator=cpu", f"norm.sync={sync}")
    prepared = prepare(config(*words, f"dataset.batch_size={batch_size}"))
    # A last batch of three gives one of two processes a single sample: it is left out.
    assert len(prepared.parts.train) % 31 == 3
