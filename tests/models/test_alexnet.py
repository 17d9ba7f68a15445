import pytest
import torch
from torch import nn
from torchvision import models

from models.helpers import Recorder, batch_norm, no_norm, num_parameters
from normlab.models import AlexNet
from normlab.models.alexnet import load_torchvision

SMALL = {"hidden": [16]}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """torchvision's AlexNet with random weights, and a file of them."""
    torch.manual_seed(0)
    network = models.alexnet(num_classes=7)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(network.state_dict(), path)
    return network.eval(), str(path)


def test_parameter_counts():
    with torch.device("meta"):
        assert (
            num_parameters(AlexNet((3, 224, 224), 1000, no_norm, hidden=[4096, 4096]))
            == 61_100_840
        )
        notebook = AlexNet((3, 224, 224), 200, batch_norm, norm_at=["head"])
    assert [
        module.in_features
        for module in notebook.head.modules()
        if isinstance(module, nn.Linear)
    ] == [
        9216,
        1024,
        1024,
        512,
    ]


def test_norms_go_where_norm_at_says():
    norm = Recorder()
    with torch.device("meta"):
        AlexNet((1, 64, 64), 10, norm)
        assert norm.calls == [
            (64, 2),
            (192, 2),
            (384, 2),
            (256, 2),
            (256, 2),
            (1024, 1),
            (1024, 1),
            (512, 1),
        ]
        for places, count in (([], 0), (["head"], 3), (["features"], 5)):
            norm.calls.clear()
            AlexNet((1, 64, 64), 10, norm, norm_at=places)
            assert len(norm.calls) == count


def test_output_equals_torchvisions_with_its_weights(stored):
    reference, path = stored
    network = AlexNet(
        (3, 67, 80), 7, no_norm, hidden=[4096, 4096], dropout=0.5, pretrained=path
    ).eval()
    x = torch.randn(2, 3, 67, 80)
    assert network(x).equal(reference(x))


def test_a_head_of_other_widths_gets_new_weights(stored):
    reference, path = stored
    network = AlexNet((3, 64, 64), 7, batch_norm, **SMALL, pretrained=path)
    assert network.features.conv5.conv.weight.equal(reference.features[10].weight)
    assert network.head.hidden1.linear.weight.shape == (16, 9216)


def test_gray_images_give_what_three_equal_channels_give(stored):
    reference, path = stored
    network = AlexNet((1, 64, 64), 7, no_norm, **SMALL, pretrained=path)
    gray = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(
        network.features(gray), reference.features(gray.expand(-1, 3, -1, -1))
    )


def test_frozen_features_are_not_trained(stored):
    network = AlexNet(
        (3, 64, 64),
        7,
        batch_norm,
        **SMALL,
        norm_at=["head"],
        freeze="features",
        pretrained=stored[1],
    )
    network.train()
    assert network.head.training
    assert not any(module.training for module in network.features.modules())
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    assert all(parameter.grad is None for parameter in network.features.parameters())
    assert network.head.hidden1.linear.weight.grad is not None


def test_forward_applies_the_head_to_the_features():
    network = AlexNet((1, 64, 64), 3, no_norm, **SMALL).eval()
    x = torch.randn(2, 1, 64, 64)
    features = network.extract(x)
    assert features.shape == (2, 9216)
    # A single 1 x 1 map, repeated 36 times.
    assert features.view(2, 256, 36).std(2).max() == 0
    assert network.head(features).equal(network(x))


def test_the_poolings_need_63_pixels():
    network = AlexNet((1, 64, 64), 3, no_norm, **SMALL)
    assert network.features(torch.zeros(1, 1, 63, 63)).shape == (1, 256, 1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        network.features(torch.zeros(1, 1, 62, 62))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"norm_at": ["heads"]},
            r"model\.norm_at must be one of features, head, got 'heads', "
            r"did you mean 'head'\?",
        ),
        ({"freeze": "all"}, r"model\.freeze must be one of features, got 'all'"),
        (
            {"freeze": "features"},
            r"model\.freeze=features keeps the convolutions as they are: "
            r"set model\.norm_at=\[head\]",
        ),
        (
            {"pretrained": True, "bias": False},
            r"model\.pretrained brings biases: set model\.bias=true",
        ),
        ({"pretrained": "no/such.pth"}, r"no/such\.pth is no file"),
    ],
)
def test_errors(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        AlexNet((3, 64, 64), 10, no_norm, **SMALL, **options)


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save(models.squeezenet1_1().state_dict(), tmp_path / "squeezenet.pth")
    expected = (
        r"pretrained=.*squeezenet\.pth: not the weights of torchvision's AlexNet: "
        r"features\.0\.weight is \(64, 3, 3, 3\) instead of \(64, 3, 11, 11\); "
        r"features\.3\.weight \(192, 64, 5, 5\) is missing; .* "
        r"the file has features\.3\.squeeze\.weight"
    )
    with pytest.raises(ValueError, match=expected):
        AlexNet(
            (3, 64, 64),
            10,
            no_norm,
            **SMALL,
            pretrained=str(tmp_path / "squeezenet.pth"),
        )


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({}, r"pretrained=f\.pth: .*: classifier\.1\.bias \(16,\) is missing$"),
        (
            {"classifier.1.bias": torch.zeros(5)},
            r"classifier\.1\.bias is \(5,\) instead of \(16,\)",
        ),
    ],
)
def test_a_head_without_a_fitting_bias_is_refused(stored, bias, message):
    convolutions = {
        key: value
        for key, value in stored[0].state_dict().items()
        if key.startswith("features")
    }
    network = AlexNet((3, 64, 64), 7, no_norm, **SMALL)
    with pytest.raises(ValueError, match=message):
        load_torchvision(
            network,
            convolutions | {"classifier.1.weight": torch.zeros(16, 9216)} | bias,
            "f.pth",
        )


def test_a_failed_download_suggests_a_local_file(monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(
        models.AlexNet_Weights.IMAGENET1K_V1.__class__, "get_state_dict", no_network
    )
    with pytest.raises(
        ValueError,
        match=r"could not be downloaded \(Name or service not known\).*"
        r"model\.pretrained=PATH",
    ):
        AlexNet((3, 64, 64), 10, no_norm, **SMALL, pretrained=True)
