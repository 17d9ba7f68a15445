import pytest
import torch
from torchvision import models

from models.helpers import batch_norm, no_norm, num_parameters
from normlab.models import VGG


@pytest.mark.parametrize("depth", [11, 16])
def test_convolutions_have_torchvisions_parameter_count(depth):
    with torch.device("meta"):
        network = VGG((3, 32, 32), 10, batch_norm, depth=depth, width=64)
        reference = getattr(models, f"vgg{depth}_bn")().features
        assert num_parameters(network.features) == num_parameters(reference)


def test_features_equal_torchvisions():
    torch.manual_seed(0)
    with torch.device("meta"):
        reference = models.vgg11().features
    reference.to_empty(device="cpu")
    network = VGG((3, 32, 32), 10, no_norm, width=64)
    for own, theirs in zip(
        network.features.parameters(), reference.parameters(), strict=True
    ):
        theirs.data.copy_(own.data)
    x = torch.randn(1, 3, 32, 32)
    assert network.features(x).equal(reference(x))
    assert network(x).shape == (1, 10)


def test_activations_keep_their_scale_without_a_norm():
    torch.manual_seed(0)
    network = VGG((3, 32, 32), 10, no_norm, depth=16, width=16)
    assert 0.01 < network.features(torch.randn(8, 3, 32, 32)).std() < 10


def test_errors():
    with pytest.raises(
        ValueError, match=r"model\.depth must be one of 11, 13, 16, 19 for VGG, got 12"
    ):
        VGG((3, 32, 32), 10, no_norm, depth=12)
    with pytest.raises(ValueError, match="at least 32 x 32 pixels, got 28 x 28"):
        VGG((3, 28, 28), 10, no_norm)
