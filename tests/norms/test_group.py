"""Groups that cannot be formed are refused, if possible before any data are read."""

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import nn

from normlab.norms import GroupNorm, LayerNorm
from normlab.training.preparation import prepare
from norms.helpers import assert_same, channels, draw, randomized


def test_group_norm_is_torchs():
    ours, theirs = GroupNorm(8, 2, num_groups=4), randomized(nn.GroupNorm(4, 8))
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8, 4, 3), 1e-12)


def test_layer_norm_is_torchs_for_images_and_for_vectors():
    ours, theirs = LayerNorm(8, 2), randomized(nn.GroupNorm(1, 8))
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8, 4, 3), 1e-12)
    ours, theirs = LayerNorm(8, 1), randomized(nn.LayerNorm(8))
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8), 1e-12)


def test_group_norm_by_head():
    layer = GroupNorm(4, 1, num_groups=2, eps=0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 10.0, 100.0, 1000.0]))
        layer.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    # Two groups, of mean 2 and deviation 1, and of mean 15 and deviation 5.
    y = layer(torch.tensor([[1.0, 3.0, 20.0, 10.0]]))
    assert y.tolist() == [[0.0, 12.0, 103.0, -996.0]]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (3, 6)), (2, (3, 6, 2, 5))])
def test_group_norm_by_its_formula(dim, shape, affine):
    layer = randomized(GroupNorm(6, dim, num_groups=2, eps=0.3, affine=affine))
    x = draw(*shape)
    y = torch.empty_like(x)
    for n in range(3):
        for group in (slice(0, 3), slice(3, 6)):
            own = x[n, group]
            deviation = (own.var(correction=0) + 0.3).sqrt()
            y[n, group] = (own - own.mean()) / deviation
    if affine:
        y = y * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (4, 8)), (1, (4, 8, 1)), (2, (4, 8, 1, 1)), (2, (0, 8, 1, 1))],
)
def test_one_value_per_group_is_refused_and_not_silently_zero(dim, shape):
    with pytest.raises(
        ValueError, match=r"got 8 groups for shape .*; use fewer groups"
    ):
        GroupNorm(8, dim)(torch.randn(shape))
    assert GroupNorm(8, dim, num_groups=4)(torch.randn(4, *shape[1:])).shape[1] == 8


def test_layer_norm_of_one_feature_is_refused():
    with pytest.raises(ValueError, match="use norm=none or more features"):
        LayerNorm(1, 1)(torch.randn(4, 1))
    assert LayerNorm(1, 2)(torch.randn(4, 1, 2, 1)).shape == (4, 1, 2, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [
                "model=lenet5",
                "norm=group",
                "norm.num_groups=32",
                "norm.largest_divisor=false",
            ],
            "got 32 groups for 6 channels",
        ),
        (
            ["model=mlp", "norm=group", "model.hidden=[8]"],
            "more than one value per group, got 8 groups",
        ),
        (
            ["model=resnet", "model.depth=18", "norm=instance"],
            r"more than one position per channel, got shape",
        ),
    ],
)
def test_the_configuration_is_refused_before_data_are_read(
    compose, monkeypatch, words, message
):
    monkeypatch.setattr(
        "normlab.training.preparation.load_parts",
        lambda *arguments: pytest.fail("data were read"),
    )
    config = OmegaConf.to_container(compose("dataset=mnist", *words), resolve=True)
    with pytest.raises((ValueError, InstantiationException), match=message):
        prepare(config)
