"""One switch sets the biases before norms in every model, or it is refused."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from models.helpers import batch_norm, no_norm, torch_norm
from normlab.models import (
    RecurrentNetwork,
    TimmModel,
    TorchvisionModel,
    VisionTransformer,
)
from normlab.models.biases import set_bias, weights_before_norms

SHAPE = (3, 32, 32)


class Branches(nn.Module):
    """Norms after a layer, a sum, a layer with permuted axes and an activation."""

    def __init__(self):
        super().__init__()
        self.before, self.summed, self.turned, self.activated = (
            nn.Conv2d(3, 3, 1) for _ in range(4)
        )
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.LayerNorm(3), nn.BatchNorm2d(3)]
        )

    def forward(self, x):
        x = self.norms[0](self.before(x))
        x = self.norms[1](x + self.summed(x))
        x = self.norms[2](self.turned(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.norms[3](self.activated(x).relu())


def test_layers_before_norms_are_found():
    network = Branches()
    before = copy.deepcopy(network.state_dict())
    assert weights_before_norms(network, (3, 4, 4), "it") == [
        network.before,
        network.turned,
    ]
    assert network.training
    assert all(
        torch.equal(before[key], value) for key, value in network.state_dict().items()
    )
    assert not any(
        layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules()
    )


@pytest.mark.parametrize(
    ("name", "count", "biases"),
    [("resnet18", 20, 0), ("vgg11_bn", 8, 8), ("convnext_tiny", 19, 19)],
)
def test_layers_before_norms_in_torchvisions_networks(name, count, biases):
    with torch.device("meta"):
        network = models.get_model(name)
    found = weights_before_norms(network, (3, 64, 64), name)
    assert (len(found), sum(layer.bias is not None for layer in found)) == (
        count,
        biases,
    )


def test_a_network_that_branches_on_values_is_refused():
    class Looking(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(
        ValueError,
        match="model.bias must be null for it, whose layers cannot be followed",
    ):
        weights_before_norms(Looking(), (3,), "it")


def test_new_biases_start_at_zero():
    layers = [
        nn.Linear(2, 3, bias=False),
        nn.Conv2d(2, 5, 1, bias=False),
        nn.Linear(2, 3),
    ]
    kept = layers[2].bias
    set_bias(layers, True, pretrained=False, name="it")
    assert [layer.bias.tolist() for layer in layers[:2]] == [[0] * 3, [0] * 5]
    assert layers[2].bias is kept
    set_bias(layers, False, pretrained=False, name="it")
    assert [layer.bias for layer in layers] == [None] * 3


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (TorchvisionModel, "shufflenet_v2_x0_5"),
        (TorchvisionModel, "squeezenet1_1"),
        (TimmModel, "resnet10t"),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_every_norm_gets_the_same_biases(model, name, bias):
    arms = []
    for norm in (no_norm, torch_norm, batch_norm):
        with torch.device("meta"):
            network = model(SHAPE, 4, norm, name=name, bias=bias)
        weights = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        arms.append([layer.bias is not None for layer in weights])
        assert sum(arms[-1]) == (
            len(weights) if bias else 1
        )  # the output layer keeps its own
    assert arms[0] == arms[1] == arms[2]


def test_null_leaves_the_biases_of_the_library():
    with torch.device("meta"):
        network = TorchvisionModel(SHAPE, 4, batch_norm, name="vgg11_bn")
        assert network.network.features[0].bias is not None
        assert TorchvisionModel(SHAPE, 4, batch_norm).network.conv1.bias is None


def test_batch_norm_gives_the_same_without_the_biases():
    """It subtracts them again: outputs in training agree, whatever they are."""
    torch.manual_seed(0)
    network = models.get_model("vgg11_bn", num_classes=4, dropout=0.0)
    for layer in weights_before_norms(network, SHAPE, "it"):
        nn.init.normal_(layer.bias)
    without = copy.deepcopy(network)
    set_bias(
        weights_before_norms(without, SHAPE, "it"), False, pretrained=False, name="it"
    )
    x = torch.randn(4, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(
        without.double()(x), network.double()(x), rtol=1e-9, atol=1e-9
    )


def test_trained_biases_cannot_be_removed(tmp_path):
    path = str(tmp_path / "weights.pth")
    torch.save(models.squeezenet1_1(num_classes=4).state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"brings biases to torchvision's squeezenet1_1: "
        r"set model.bias=true or null",
    ):
        TorchvisionModel(
            SHAPE, 4, no_norm, name="squeezenet1_1", pretrained=path, bias=False
        )
    network = TorchvisionModel(
        SHAPE, 4, no_norm, name="squeezenet1_1", pretrained=path, bias=True
    )
    assert network(torch.randn(2, *SHAPE)).shape == (2, 4)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            VisionTransformer,
            {"bias": False},
            "model.bias must be true for VisionTransformer: its norms get sums",
        ),
        (
            RecurrentNetwork,
            {"bias": True},
            "model.bias must be false for RecurrentNetwork: the bias of its gates",
        ),
        (
            TorchvisionModel,
            {"name": "vit_b_16", "bias": False},
            "null for torchvision's vit_b_16: none of its norms",
        ),
    ],
)
def test_models_without_a_choice_give_the_reason(model, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        model(SHAPE, 4, batch_norm, **options)
