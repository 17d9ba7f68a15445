import pytest
import timm
import torch
from torch import nn
from torchvision import models

from models.helpers import Activating, batch_norm, no_norm, num_parameters
from normlab.models import ResNet
from normlab.models.resnet import PaddedShortcut


@pytest.mark.parametrize(
    ("depth", "expected"), [(20, 269_722), (56, 853_018), (110, 1_727_962)]
)
def test_parameter_counts_of_the_cifar_networks(depth, expected):
    with torch.device("meta"):
        assert (
            num_parameters(ResNet((3, 32, 32), 10, batch_norm, depth=depth)) == expected
        )


@pytest.mark.parametrize("depth", [34, 50])
def test_parameter_counts_of_the_imagenet_networks(depth):
    with torch.device("meta"):
        reference = getattr(models, f"resnet{depth}")()
        network = ResNet((3, 224, 224), 1000, batch_norm, depth=depth)
    assert num_parameters(network) == num_parameters(reference)


def test_equals_torchvisions_resnet18():
    torch.manual_seed(0)
    reference = models.resnet18(num_classes=10)
    network = ResNet((3, 64, 64), 10, batch_norm, depth=18)
    theirs = [parameter for name, parameter in reference.named_parameters()]
    for own, parameter in zip(network.parameters(), theirs, strict=True):
        own.data.copy_(parameter.data)
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(network(x), reference(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("depth", [18, 50])
def test_norms_before_convolutions_equal_timms_second_version(depth):
    torch.manual_seed(0)
    reference = timm.create_model(
        f"resnetv2_{depth}",
        num_classes=10,
        stem_type="",
        conv_layer=timm.layers.create_conv2d,
        norm_layer=timm.layers.BatchNormAct2d,
    )
    network = ResNet((3, 64, 64), 10, batch_norm, depth=depth, norm_place="pre")
    ours = by_kind(network)
    theirs = by_kind(reference)
    assert [len(layers) for layers in ours] == [len(layers) for layers in theirs]
    for own_layers, their_layers in zip(ours, theirs, strict=True):
        for own, their in zip(own_layers, their_layers, strict=True):
            own.weight.data.copy_(their.weight.data.view_as(own.weight))
    network.output.bias.data.copy_(reference.head.fc.bias.data)
    x = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(network(x), reference(x), atol=1e-4, rtol=1e-4)


def by_kind(network):
    """Convolutions of branches, those of shortcuts, norms, and the output layer."""
    branches, shortcuts, norms = [], [], []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            is_shortcut = "shortcut" in name or "downsample" in name
            (shortcuts if is_shortcut else branches).append(layer)
        elif hasattr(layer, "running_mean"):
            norms.append(layer)
    return branches, shortcuts, norms


def scaled_by(factor):
    """A norm that only multiplies, always by this factor."""

    class Multiply(nn.Module):
        def __init__(self, num_features, dim):
            super().__init__()

        def forward(self, x):
            return factor * x

    return Multiply


def test_a_norm_at_both_ends_of_a_branch():
    torch.manual_seed(0)
    options = {"depth": 8, "activation": "none", "norm_place": "peri"}
    network = ResNet((3, 8, 8), 10, scaled_by(3.0), **options).double()
    block = network.stages[0][0]
    first, _, second, _ = block.layers
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(block(x), 27 * second(first(x)) + x)


def test_places_that_do_not_exist_are_refused():
    for place in ("both", "none"):
        with pytest.raises(
            ValueError, match=r"norm_place must be one of post, pre, peri"
        ):
            ResNet((3, 8, 8), 10, no_norm, norm_place=place)


def test_padded_shortcut():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    y = PaddedShortcut(2, added_channels=2)(x)
    assert y.tolist() == [
        [[[0.0, 2.0], [8.0, 10.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    ]


def test_the_small_stem_keeps_the_resolution():
    network = ResNet((3, 32, 32), 10, no_norm, depth=18, stem="cifar")
    assert network.stem(torch.zeros(1, 3, 32, 32)).shape == (1, 64, 32, 32)
    assert ResNet((3, 32, 32), 10, no_norm, depth=18).stem(
        torch.zeros(1, 3, 32, 32)
    ).shape == (1, 64, 8, 8)


def test_no_activation_follows_a_norm_with_activation():
    network = ResNet((3, 8, 8), 10, Activating, depth=8)
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_bias_switch():
    with torch.device("meta"):
        convolutions = [
            m
            for m in ResNet((3, 8, 8), 10, no_norm, bias=True).modules()
            if isinstance(m, nn.Conv2d)
        ]
    assert all(conv.bias is not None for conv in convolutions)


@pytest.mark.parametrize("depth", [19, 2, 21, "20", True])
def test_depths_that_do_not_exist_are_refused(depth):
    with pytest.raises(
        ValueError, match=r"model\.depth must be 18, 34, 50, 101 or 6 n \+ 2"
    ):
        ResNet((3, 32, 32), 10, no_norm, depth=depth)
