import copy
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from models.helpers import Activating, Recorder, batch_norm, no_norm, torch_norm
from normlab.models import (
    Swap,
    insert_norms,
    replace_norms,
)
from normlab.models.blocks import TokenNorm
from normlab.norms import (
    BatchNorm,
    DynamicTanh,
    EvoNormB0,
    FilterResponseNorm,
    GlobalResponseNorm,
    InstanceNorm,
    IterativeWhitening,
    LocalResponseNorm,
    MovingAverageBatchNorm,
)


def train_a_little(network):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        network(
            torch.randn(4, 3, 32, 32, dtype=torch.float64)
        ).square().mean().backward()
        optimizer.step()
    return network


def test_resnet18_gives_the_same_with_our_batch_norm():
    torch.manual_seed(0)
    reference = train_a_little(models.resnet18(num_classes=10).double())
    swapped = copy.deepcopy(reference)
    swaps = replace_norms(swapped, batch_norm)
    assert [swap.kind for swap in swaps] == ["replaced"] * 20
    assert swaps[0] == Swap(
        "bn1",
        "replaced",
        "BatchNorm2d",
        "BatchNorm",
        "copied weight, bias, running_mean, running_var, num_batches_tracked",
    )
    assert not any(isinstance(module, nn.BatchNorm2d) for module in swapped.modules())
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(swapped.eval()(x), reference.eval()(x))
    torch.testing.assert_close(swapped.train()(x), reference.train()(x))


def test_timms_activation_stays():
    torch.manual_seed(0)
    reference = timm.create_model("mobilenetv3_small_050", num_classes=4).eval()
    swapped = copy.deepcopy(reference)
    swaps = replace_norms(swapped, partial(BatchNorm, eps=1e-3))
    assert all(swap.old == "BatchNormAct2d" for swap in swaps)
    assert "momentum" not in swaps[0].why
    assert "Hardswish kept" in swaps[0].why
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(swapped(x), reference(x), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "norm", [DynamicTanh, FilterResponseNorm, EvoNormB0, BatchNorm]
)
@pytest.mark.parametrize(
    "old", [{}, {"affine": False, "track_running_stats": False}], ids=str
)
def test_a_new_norm_has_the_dtype_of_the_network(norm, old):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, **old)).double()
    replace_norms(network, norm)
    state = [
        value for value in network.state_dict().values() if value.is_floating_point()
    ]
    assert {value.dtype for value in state} == {torch.float64}
    assert network(torch.randn(2, 1, 5, 5).double()).dtype == torch.float64


def test_norms_kept_in_float32_are_replaced_in_float32():
    network = nn.Sequential(nn.Conv2d(1, 4, 3).bfloat16(), nn.BatchNorm2d(4))
    replace_norms(network, FilterResponseNorm)
    assert {value.dtype for value in network[1].state_dict().values()} == {
        torch.float32
    }


def test_settings_that_differ_are_reported():
    network = nn.Sequential(nn.BatchNorm2d(2, eps=1e-3, momentum=0.01))
    why = replace_norms(network, batch_norm)[0].why
    assert why.endswith("eps 0.001 became 1e-05; momentum 0.01 became 0.1")


def test_state_that_cannot_be_copied_is_reported():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    why = replace_norms(network, lambda c, d: nn.GroupNorm(2, c))[0].why
    assert (
        why == "copied weight, bias; not taken over: "
        "running_mean, running_var, num_batches_tracked"
    )
    assert isinstance(network[1], nn.GroupNorm)


def test_state_that_only_the_old_norm_has_is_reported():
    network = nn.Sequential(DynamicTanh(4, 1))
    assert (
        replace_norms(network, batch_norm)[0].why
        == "copied weight, bias; not taken over: alpha"
    )


def test_the_number_of_batches_is_copied_with_the_running_variance_only():
    trained = nn.BatchNorm1d(4)
    trained.num_batches_tracked.fill_(5000)
    network = nn.Sequential(trained)
    why = replace_norms(network, MovingAverageBatchNorm)[0].why
    assert network[0].num_batches_tracked == 0
    assert "not taken over: running_mean, running_var, num_batches_tracked" in why
    other = nn.Sequential(trained)
    replace_norms(other, batch_norm)
    assert other[0].num_batches_tracked == 5000


def test_a_mean_is_not_copied_without_its_whitening():
    trained = nn.BatchNorm2d(4)
    trained.running_mean.fill_(3)
    network = nn.Sequential(trained)
    why = replace_norms(network, IterativeWhitening)[0].why
    assert network[0].running_mean.tolist() == [0.0] * 4
    assert "not taken over: running_mean, running_var, num_batches_tracked" in why


class Centring(nn.Module):
    """A norm that subtracts a running mean and averages nothing else."""

    def __init__(self, num_features, dim):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(num_features))


def test_a_mean_is_copied_if_it_is_all_that_the_norm_averages():
    trained = nn.BatchNorm2d(4)
    trained.running_mean.fill_(3)
    network = nn.Sequential(trained)
    replace_norms(network, Centring)
    assert network[0].running_mean.tolist() == [3.0] * 4


def test_a_global_response_norm_starts_as_the_identity():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    why = replace_norms(network, GlobalResponseNorm)[0].why
    assert why.startswith("not taken over: weight, bias, running_mean")
    x = torch.randn(2, 1, 5, 5)
    assert torch.equal(network(x), network[0](x))
    network[1].weight.data.fill_(0.5)
    replace_norms(network, GlobalResponseNorm)
    assert network[1].weight.tolist() == [0.5] * 4
    replace_norms(network, batch_norm)
    assert network[1].weight.tolist() == [1.0] * 4


def test_norm_none_removes_norms_and_reports_what_was_lost():
    network = nn.Sequential(nn.BatchNorm1d(4))
    why = replace_norms(network, no_norm)[0].why
    assert isinstance(network[0], nn.Identity)
    assert (
        why == "not taken over: "
        "weight, bias, running_mean, running_var, num_batches_tracked"
    )


def without_in_place(network):
    """A copy of the network in which no layer overwrites its input."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if hasattr(layer, "inplace"):
            layer.inplace = False
    return network


@pytest.mark.parametrize(
    "norm",
    [no_norm, InstanceNorm, LocalResponseNorm, BatchNorm],
    ids=lambda norm: norm.__name__,
)
def test_kept_activations_do_not_overwrite_the_input_of_the_norm(norm):
    """timm's pre-activation block hands its input to the shortcut as well."""
    torch.manual_seed(0)
    network = timm.create_model("resnetv2_18", num_classes=4).eval()
    assert network.stages[0].blocks[0].norm1.act.inplace
    replace_norms(network, norm)
    x = torch.randn(2, 3, 64, 64)
    twin = without_in_place(network)
    with torch.no_grad():
        assert torch.equal(network(x), twin(x))


@pytest.mark.parametrize("training", [True, False])
def test_activations_behind_a_removed_norm_do_not_overwrite_its_input(training):
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.activation = nn.Sequential(nn.ReLU(inplace=True))
            self.dropout = nn.Dropout(0.0, inplace=True)

        def forward(self, x):
            return x + self.dropout(self.activation(self.norm(x)))

    network = nn.Sequential(PreActivation(), PreActivation()).train(training)
    replace_norms(network, no_norm)
    x = torch.randn(6, 4)
    before = x.clone()
    once = before + before.relu()
    assert torch.equal(network(x), once + once.relu())
    assert torch.equal(x, before)


def test_norms_of_a_transformer_act_on_the_last_axis():
    torch.manual_seed(0)
    reference = models.swin_t(num_classes=4).eval()
    swapped = copy.deepcopy(reference)

    class ChannelNorm(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.transpose(1, -1)).transpose(1, -1)

    swaps = replace_norms(swapped, lambda c, d: ChannelNorm(c))
    assert len(swaps) == 29
    assert isinstance(swapped.norm, TokenNorm)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(swapped(x), reference(x), atol=1e-4, rtol=1e-4)


def test_group_norm_takes_its_dim_from_the_convolution_before():
    norm = Recorder()
    replace_norms(nn.Sequential(nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4)), norm)
    replace_norms(nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4)), norm)
    replace_norms(nn.Sequential(nn.Linear(1, 4), nn.GroupNorm(2, 4)), norm)
    assert norm.calls == [(4, 1), (4, 3), (4, 1)]


def test_a_norm_with_activation_replaces_the_activation_inside():
    network = nn.Sequential(
        timm.layers.BatchNormAct2d(3), timm.layers.BatchNormAct2d(3, apply_act=False)
    )
    swaps = replace_norms(network, Activating)
    assert isinstance(network[0], Activating)
    assert swaps[0].why.endswith(
        "contains its activation; those that the network applies stay; "
        "in place of its ReLU"
    )


def test_shared_layers_stay_shared():
    shared = nn.BatchNorm1d(3)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    swaps = replace_norms(network, batch_norm)
    assert network[0] is network[2]
    assert isinstance(network[0], BatchNorm)
    assert swaps[1].why == "the same layer as 0"


def test_norms_that_are_left_alone_have_a_reason():
    network = nn.Sequential(
        nn.LayerNorm((4, 4)),
        nn.TransformerEncoderLayer(4, 1, 8),
        nn.LocalResponseNorm(2),
    )
    before = copy.deepcopy(network)
    swaps = replace_norms(network, batch_norm)
    assert [swap.kind for swap in swaps] == ["left alone"] * 4
    assert "fixed shape (4, 4)" in swaps[0].why
    assert "reads its eps" in swaps[1].why
    assert str(network) == str(before)


def test_frozen_parameters_and_mode_are_kept():
    network = nn.Sequential(nn.BatchNorm1d(3)).eval().requires_grad_(False).double()
    replace_norms(network, batch_norm)
    assert not network[0].training
    assert not network[0].weight.requires_grad
    assert network[0].weight.dtype == network[0].running_mean.dtype == torch.float64


def test_insert_into_torchvisions_alexnet():
    with torch.device("meta"):
        network = models.alexnet()
        norm = Recorder()
        swaps = insert_norms(network, norm)
    assert norm.calls == [
        (64, 2),
        (192, 2),
        (384, 2),
        (256, 2),
        (256, 2),
        (4096, 1),
        (4096, 1),
    ]
    assert swaps[-1] == Swap(
        "classifier.6", "left alone", "Linear", "Linear", "output layer"
    )
    assert [name for name, _ in network.features[0].named_children()] == [
        "conv",
        "norm",
    ]


def test_inserting_norms_that_do_nothing_keeps_the_outputs():
    torch.manual_seed(0)
    reference = models.squeezenet1_1(num_classes=4).eval()
    swapped = copy.deepcopy(reference)
    swaps = insert_norms(swapped, partial(BatchNorm, eps=0.0))
    assert sum(swap.kind == "inserted" for swap in swaps) == 25
    x = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(swapped.eval()(x), reference(x))


@pytest.mark.parametrize("network", [nn.Linear(2, 2), nn.Sequential(nn.ReLU())])
def test_nothing_is_inserted_into_a_network_without_weights_inside(network):
    assert insert_norms(network, nn.BatchNorm1d) == []


def test_insert_skips_layers_that_a_norm_follows():
    network = nn.Sequential(
        nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    swaps = insert_norms(network, torch_norm)
    assert [(swap.name, swap.kind, swap.why) for swap in swaps] == [
        ("0", "left alone", "1 follows"),
        ("2", "inserted", ""),
        ("4", "left alone", "output layer"),
    ]
    assert network(torch.randn(5, 2)).shape == (5, 2)


def test_insert_after_linear_layers_on_sequences():
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    insert_norms(network, batch_norm)
    x = torch.randn(6, 5, 2)
    y = network[0](x)
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
    assert network(x).shape == (6, 5, 4)


def test_insert_leaves_attention_alone():
    network = nn.Sequential(
        nn.MultiheadAttention(4, 1), nn.Linear(4, 4), nn.Linear(4, 2)
    )
    swaps = insert_norms(network, batch_norm)
    assert swaps[0].why == "MultiheadAttention reads its weights directly"
    assert [swap.kind for swap in swaps] == ["left alone", "inserted", "left alone"]
