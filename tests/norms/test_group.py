"""Groups that cannot be formed are refused, before any data are read where the configuration tells."""

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from normlab.norms import GroupNorm, LayerNorm
from normlab.training.preparation import prepare


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
