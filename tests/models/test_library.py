import sys
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from models.helpers import batch_norm, no_norm, torch_norm
from normlab.models import TimmModel, TorchvisionModel
from normlab.models.library import build_torchvision
from normlab.norms import BatchNorm

SHAPE = (3, 32, 32)
SMALL = "shufflenet_v2_x0_5"


def test_torchvisions_network_with_our_norms():
    with torch.device("meta"):
        network = TorchvisionModel((1, 64, 64), 7, batch_norm, name="resnet50")
    assert network.network.conv1.weight.shape == (64, 1, 7, 7)
    assert network.network.fc.out_features == 7
    assert (
        sum(isinstance(module, BatchNorm) for module in network.modules())
        == 53
        == len(network.norm_report)
    )


def test_norms_are_inserted_if_there_are_none():
    with torch.device("meta"):
        network = TorchvisionModel((3, 64, 64), 7, batch_norm, name="alexnet")
    assert sum(swap.kind == "inserted" for swap in network.norm_report) == 7


def test_transformers_are_built_for_the_image_size():
    with torch.device("meta"):
        assert (
            TorchvisionModel(
                (3, 64, 64), 7, batch_norm, name="vit_b_16"
            ).network.image_size
            == 64
        )
        timms = TimmModel((1, 64, 32), 7, batch_norm, name="vit_tiny_patch16_224")
        assert timms(torch.empty(2, 1, 64, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_have_no_auxiliary_heads(name):
    with torch.device("meta"):
        output = TorchvisionModel((3, 96, 96), 7, batch_norm, name=name)(
            torch.empty(2, 3, 96, 96)
        )
    assert output.shape == (2, 7)


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    reference = models.get_model(SMALL, num_classes=5).eval()
    path = str(tmp_path / "weights.pth")
    torch.save(reference.state_dict(), path)
    x = torch.randn(2, 3, 32, 32)
    same = TorchvisionModel(SHAPE, 5, torch_norm, name=SMALL, pretrained=path).eval()
    torch.testing.assert_close(same(x), reference(x))
    other = TorchvisionModel((1, 32, 32), 9, torch_norm, name=SMALL, pretrained=path)
    assert other.network.fc.out_features == 9
    assert other.network.conv5[0].weight.equal(reference.conv5[0].weight)
    expected = reference.conv1[0].weight.sum(1, keepdim=True)
    torch.testing.assert_close(other.network.conv1[0].weight, expected)


def test_timm_takes_weights_of_coloured_images_for_gray_ones(tmp_path):
    torch.manual_seed(0)
    name = "mobilenetv3_small_050"
    reference = timm.create_model(name, num_classes=7).eval()
    path = str(tmp_path / "weights.pth")
    torch.save(reference.state_dict(), path)
    norm = partial(BatchNorm, eps=1e-3)
    network = TimmModel((1, 32, 32), 7, norm, name=name, pretrained=path).eval()
    x = torch.randn(2, 1, 32, 32)
    coloured = reference(x.expand(2, 3, 32, 32))
    torch.testing.assert_close(network(x), coloured, atol=1e-3, rtol=1e-3)


@pytest.fixture
def stored_weights(monkeypatch):
    """stored_weights(state): what torchvision finds in place of a download."""

    def store(state):
        monkeypatch.setattr(
            models._api.WeightsEnum, "get_state_dict", lambda *_, **__: state
        )

    return store


def test_a_trained_output_layer_stays_if_its_width_fits(stored_weights):
    trained = models.get_model(SMALL)
    stored_weights(trained.state_dict())
    same = build_torchvision(SMALL, 1000, True, {})
    assert same.fc.weight.equal(trained.fc.weight)
    other = build_torchvision(SMALL, 7, True, {})
    assert other.fc.weight.shape == (7, 1024)
    assert other.conv5[0].weight.equal(trained.conv5[0].weight)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_trained_networks_with_auxiliary_heads_lose_them(stored_weights, name):
    options = {"transform_input": True}
    with torch.device("meta"):
        trained = models.get_model(name, aux_logits=True, init_weights=False)
        stored_weights(trained.state_dict())
        network = TorchvisionModel(
            (3, 96, 96), 7, batch_norm, name=name, pretrained=True, options=options
        )
        assert network(torch.empty(2, 3, 96, 96)).shape == (2, 7)
    assert network.network.transform_input
    assert not any("aux" in key.lower() for key in network.state_dict())
    with pytest.raises(ValueError, match=r"set \+model\.options\.transform_input=true"):
        TorchvisionModel((3, 96, 96), 7, batch_norm, name=name, pretrained=True)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_weights_for_rescaled_inputs_ask_for_them_from_a_file_too(tmp_path, name):
    path = str(tmp_path / "weights.pth")
    message = r"set \+model\.options\.transform_input=true for images of 3 channels"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        TorchvisionModel((3, 96, 96), 7, batch_norm, name=name, pretrained=path)


def test_weights_of_a_file_get_rescaled_inputs(tmp_path):
    path = str(tmp_path / "weights.pth")
    options = {"aux_logits": False, "init_weights": False}
    trained = models.get_model("googlenet", num_classes=7, **options)
    torch.save(trained.state_dict(), path)
    options["transform_input"] = True
    network = build_torchvision("googlenet", 7, path, options)
    assert network.transform_input
    assert network.conv1.conv.weight.equal(trained.conv1.conv.weight)


def test_only_images_of_three_channels_are_rescaled():
    arguments = {"name": "googlenet", "options": {"transform_input": True}}
    message = "false for images that do not have 3 channels, these have 1"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        TorchvisionModel((1, 96, 96), 7, batch_norm, **arguments)


def test_weights_of_another_architecture(tmp_path):
    path = str(tmp_path / "weights.pth")
    torch.save(models.get_model("shufflenet_v2_x1_0").state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"not the weights of torchvision's shufflenet_v2_x0_5: "
        r"stage2\.0\.branch1\.2",
    ):
        TorchvisionModel(SHAPE, 5, torch_norm, name=SMALL, pretrained=path)


def test_timm_adapts_channels_and_outputs():
    network = TimmModel((1, 32, 32), 7, batch_norm, name="mobilenetv3_small_050")
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    assert any(isinstance(module, BatchNorm) for module in network.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_missing_timm_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"model=timm needs timm: pip install timm"):
        TimmModel(SHAPE, 7, no_norm)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            TorchvisionModel,
            {"name": "resnet19"},
            r"model\.name must be one of \d+ names, got 'resnet19', "
            r"did you mean 'resnet",
        ),
        (
            TimmModel,
            {"name": "convnext_ato"},
            r"model\.name must be .* did you mean 'convnext_",
        ),
        (
            TorchvisionModel,
            {"norms": "swap"},
            r"model\.norms must be one of auto, replace, insert, got 'swap'",
        ),
        (
            TorchvisionModel,
            {"name": "alexnet", "norms": "replace"},
            r"no place for a norm .*replace; set model\.norms=auto",
        ),
        (
            TorchvisionModel,
            {"options": {"depth": 3}},
            r"model\.options do not fit torchvision's resnet18: .*'depth'",
        ),
        (
            TimmModel,
            {"options": {"depht": 3}},
            r"model\.options do not fit timm's resnet18: .*'depht'",
        ),
        (
            TimmModel,
            {"name": "resnetv2_50d_frn"},
            r"timm's resnetv2_50d_frn offers no place .* take another model",
        ),
    ],
)
def test_errors(model, options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        model(SHAPE, 7, no_norm, **options)


def test_norms_in_timms_residual_blocks_start_at_scale_one():
    network = TimmModel(SHAPE, 7, batch_norm, name="resnet10t")
    assert all(
        (layer.weight == 1).all()
        for layer in network.modules()
        if isinstance(layer, BatchNorm)
    )
    wanted = TimmModel(
        SHAPE, 7, batch_norm, name="resnet10t", options={"zero_init_last": True}
    )
    assert any(
        (layer.weight == 0).all()
        for layer in wanted.modules()
        if isinstance(layer, BatchNorm)
    )


def test_norms_are_inserted_after_every_layer_of_vgg():
    with torch.device("meta"):
        network = TorchvisionModel(SHAPE, 7, batch_norm, name="vgg11")
    features, classifier = network.network.features, network.network.classifier
    assert [type(layer).__name__ for layer in features[:3]] == [
        "Sequential",
        "ReLU",
        "MaxPool2d",
    ]
    assert [
        layer[1].num_features for layer in features if isinstance(layer, nn.Sequential)
    ] == [*(64, 128, 256, 256, 512, 512, 512, 512)]
    assert [type(layer[1]).__name__ for layer in (classifier[0], classifier[3])] == [
        "TokenNorm",
        "TokenNorm",
    ]
    assert isinstance(classifier[6], nn.Linear)
    assert [swap.kind for swap in network.norm_report] == ["inserted"] * 10 + [
        "left alone"
    ]
    assert network(torch.empty(2, *SHAPE, device="meta")).shape == (2, 7)
