import pytest
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
