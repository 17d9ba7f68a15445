"""What every file in conf/model must fulfil, new ones as soon as they exist."""

from pathlib import Path

import pytest
import torch
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from torch import nn

from models.helpers import Activating, batch_norm, no_norm, torch_norm

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Widths that make the larger networks light enough for a test.
LIGHT = {
    "alexnet": {"hidden": [8]},
    "vgg": {"width": 4},
    "resnet": {"depth": 8},
    "recurrent": {"hidden": 4},
    "torchvision": {"name": "shufflenet_v2_x0_5"},
    "timm": {"name": "mobilenetv3_small_050"},
}


def build(name, norm, num_outputs=10, channels=1, seed=0):
    config = OmegaConf.to_container(
        OmegaConf.load(FOLDER / f"{name}.yaml")
    ) | LIGHT.get(name, {})
    size = get_object(config["_target_"]).min_image_size
    shape = (14,) if name == "tabular" else (channels, size or 8, size or 8)
    torch.manual_seed(seed)
    return instantiate(
        config, input_shape=shape, num_outputs=num_outputs, norm=norm, _convert_="all"
    ), shape


def weights(network):
    """Tensors by name that belong to no norm."""
    norms = {
        id(t)
        for m in network.modules()
        if hasattr(m, "running_mean")
        for t in m.parameters(recurse=False)
    }
    return {
        name: tensor
        for name, tensor in network.named_parameters()
        if id(tensor) not in norms
    }


@pytest.mark.parametrize("name", NAMES)
def test_trains_one_batch(name):
    network, shape = build(name, batch_norm, num_outputs=3)
    output = network(torch.randn(4, *shape))
    assert output.shape == (4, 3)
    output.square().sum().backward()
    trained = [
        parameter for parameter in network.parameters() if parameter.requires_grad
    ]
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all()
        for parameter in trained
    )
    assert network.eval()(torch.randn(1, *shape)).shape == (1, 3)


@pytest.mark.parametrize("name", NAMES)
def test_arms_start_from_bit_identical_weights(name):
    arms = [
        list(weights(build(name, norm)[0]).values())
        for norm in (no_norm, torch_norm, batch_norm)
    ]
    assert len(arms[0]) > 0
    for plain, torchs, ours in zip(*arms, strict=True):
        assert plain.equal(torchs)
        assert plain.equal(ours)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_the_file(name):
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    options = get_object(config["_target_"]).__init__.__annotations__.keys() - {
        "input_shape",
        "num_outputs",
        "norm",
        "return",
    }
    assert set(config) == options | {"_target_"}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"mlp", "tabular"}))
def test_image_models_refuse_tables_and_small_images(name):
    target = get_object(OmegaConf.load(FOLDER / f"{name}.yaml")["_target_"])
    with pytest.raises(
        ValueError, match=r"takes images \(C, H, W\), got inputs of shape \(14,\)"
    ):
        target(input_shape=(14,), num_outputs=10, norm=no_norm)
    small = target.min_image_size - 1
    with pytest.raises(
        ValueError, match=f"needs images of at least {target.min_image_size} x"
    ):
        target(input_shape=(1, small, small), num_outputs=10, norm=no_norm)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_runs_on_the_meta_device(name):
    with torch.device("meta"):
        network, shape = build(name, batch_norm, channels=3)
        assert network(torch.empty(4, *shape)).shape == (4, 10)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "alexnet", "vgg", "resnet"])
def test_a_norm_with_activation_replaces_the_activation(name):
    network, shape = build(name, Activating)
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    assert network(torch.randn(2, *shape)).shape == (2, 10)
