import pytest
import timm.layers
import torchvision
from torch import nn

from normlab.models.recognize import NormSlot, looks_like_norm, norm_slot
from normlab.norms import BatchNorm, DynamicTanh, EvoNormB0, GhostBatchNorm


@pytest.mark.parametrize(
    ("layer", "slot"),
    [
        (nn.BatchNorm1d(3), NormSlot(3, 1)),
        (nn.BatchNorm2d(3), NormSlot(3, 2)),
        (nn.BatchNorm3d(3), NormSlot(3, 3)),
        (nn.InstanceNorm2d(3), NormSlot(3, 2)),
        (nn.SyncBatchNorm(3), NormSlot(3, 2)),
        (nn.GroupNorm(2, 4), NormSlot(4, 2)),
        (nn.LayerNorm(5), NormSlot(5, 1, channels_last=True)),
        (nn.RMSNorm(5), NormSlot(5, 1, channels_last=True)),
        (BatchNorm(3, 1), NormSlot(3, 1)),
        (DynamicTanh(3, 2), NormSlot(3, 2)),
        (torchvision.ops.FrozenBatchNorm2d(3), NormSlot(3, 2)),
        (torchvision.models.convnext.LayerNorm2d(3), NormSlot(3, 2)),
        (timm.layers.LayerNorm2d(3), NormSlot(3, 2)),
        (timm.layers.RmsNorm(3), NormSlot(3, 1, channels_last=True)),
        (timm.layers.RmsNorm2d(3), NormSlot(3, 2)),
        (timm.layers.BatchNormAct2d(3), NormSlot(3, 2)),
        (timm.layers.GroupNormAct(4, num_groups=2), NormSlot(4, 2)),
    ],
)
def test_norms_that_can_be_replaced(layer, slot):
    assert looks_like_norm(layer)
    assert norm_slot(layer, dim_hint=2) == slot


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LayerNorm((4, 5)), "fixed shape"),
        (nn.LocalResponseNorm(2), "not known"),
        (nn.LazyBatchNorm2d(), "before the first batch"),
        (timm.layers.SplitBatchNorm2d(3), "several norms"),
        (EvoNormB0(3, 2), "norm and activation in one"),
        (timm.layers.EvoNorm2dS0(32), "norm and activation in one"),
        (timm.layers.FilterResponseNormTlu2d(3), "norm and activation in one"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_norms_that_cannot_be_replaced(layer, reason):
    assert looks_like_norm(layer)
    assert reason in norm_slot(layer, dim_hint=2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(2, 2),
        nn.ReLU(),
        torchvision.ops.Conv2dNormActivation(1, 2),
        timm.layers.ConvNormAct(1, 2),
    ],
)
def test_layers_that_are_not_norms(layer):
    assert not looks_like_norm(layer)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("cls", [BatchNorm, GhostBatchNorm])
def test_our_batch_norms_say_their_own_number_of_axes(cls, dim):
    assert norm_slot(cls(4, dim), dim_hint=2) == NormSlot(4, dim)
