"""Every norm's arithmetic, against numbers worked by head or another implementation."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from normlab.norms import (
    BatchNorm,
    BatchRenorm,
    DynamicTanh,
    EvoNormB0,
    EvoNormS0,
    FilterResponseNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LayerNormPerPixel,
    LocalResponseNorm,
    NoisyBatchNorm,
    RMSNorm,
    normalize_weights,
    standardize_weights,
)

X = torch.randn(5, 8, 4, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1


def same(ours, theirs, x=X, tolerance=1e-5):
    torch.testing.assert_close(ours(x), theirs(x), rtol=tolerance, atol=tolerance)


def test_group_norm_is_torchs():
    same(GroupNorm(8, 2, num_groups=4), nn.GroupNorm(4, 8))


def test_layer_norm_is_torchs_in_both_readings():
    same(LayerNorm(8, 2), nn.GroupNorm(1, 8))
    same(LayerNorm(8, 1), nn.LayerNorm(8), X[:, :, 0, 0])
    same(LayerNormPerPixel(8, 2), timm.layers.LayerNorm2d(8))


def test_rms_norm_is_torchs():
    same(RMSNorm(8, 1, eps=1e-6), nn.RMSNorm(8, eps=1e-6), X[:, :, 0, 0])
    assert RMSNorm(2, 1, eps=0.0)(torch.tensor([[3.0, 4.0]])).tolist() == [
        [pytest.approx(3 / 12.5**0.5), pytest.approx(4 / 12.5**0.5)]
    ]


def test_instance_norm_is_torchs_and_lets_vectors_pass():
    same(InstanceNorm(8, 2), nn.InstanceNorm2d(8))
    vectors = X[:, :, 0, 0]
    assert torch.equal(InstanceNorm(8, 1)(vectors), vectors)
    with pytest.raises(ValueError, match="needs positions"):
        InstanceNorm(8, 1, vectors="error")(vectors)
    with pytest.raises(ValueError, match="more than one position"):
        InstanceNorm(8, 2)(X[:, :, :1, :1])


def test_local_response_norm_is_torchs():
    same(LocalResponseNorm(8, 2), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0))


def test_ghost_norm_is_batch_norm_of_each_part():
    ghost, parts = GhostBatchNorm(8, 2, size=2), [BatchNorm(8, 2) for _ in range(2)]
    expected = torch.cat(
        [parts[0](X[:2]), parts[1](X[2:])]
    )  # the fifth sample joins the second part
    torch.testing.assert_close(ghost(X), expected)
    torch.testing.assert_close(
        ghost.running_mean, (2 * parts[0].running_mean + 3 * parts[1].running_mean) / 5
    )


def test_ghost_norms_running_statistics_weigh_a_shorter_part_by_its_values():
    layer = GhostBatchNorm(1, 1, size=3, momentum=1.0)
    layer(
        torch.tensor([[1.0], [2.0], [6.0], [10.0], [12.0]])
    )  # parts of mean 3 and 11, squares 14 and 2 around them
    assert layer.running_mean.item() == pytest.approx((3 * 3 + 2 * 11) / 5)
    assert layer.running_var.item() == pytest.approx((14 + 2) / (5 - 2))


@pytest.mark.parametrize(("batch", "size"), [(66, 64), (34, 16), (64, 16)])
def test_ghost_norms_running_variance_is_unbiased_whatever_the_last_part(batch, size):
    generator = torch.Generator().manual_seed(0)
    layer = GhostBatchNorm(1000, 1, size=size, momentum=None)
    for _ in range(20):
        layer(2 * torch.randn(batch, 1000, generator=generator))
    assert layer.running_var.mean().item() == pytest.approx(4.0, rel=0.01)


def test_ghost_norm_of_single_images_takes_each_by_itself():
    torch.testing.assert_close(GhostBatchNorm(8, 2, size=1)(X), InstanceNorm(8, 2)(X))


def test_ghost_norm_of_the_whole_batch_is_batch_norm():
    same(GhostBatchNorm(8, 2, size=64), BatchNorm(8, 2))


def test_batch_renorm_starts_as_batch_norm():
    same(BatchRenorm(8, 2, warmup_steps=1), BatchNorm(8, 2))


def test_batch_renorm_worked_by_head():
    layer = BatchRenorm(
        1, 1, r_max=3.0, d_max=5.0, warmup_steps=0, ramp_steps=0, eps=0.0
    )
    layer.num_batches_tracked.fill_(10)
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)  # sigma 2
    x = torch.tensor([[2.0], [6.0]])  # mean 4, sigma 2: r = 1, d = 1.5
    torch.testing.assert_close(
        layer(x), torch.tensor([[0.5], [2.5]])
    )  # as evaluation by the running statistics


def test_batch_renorm_clips_and_stops_the_gradient():
    layer = BatchRenorm(1, 1, r_max=1.0, d_max=0.0, warmup_steps=0, ramp_steps=0)
    layer.num_batches_tracked.fill_(10)
    layer.running_mean.fill_(100.0)
    x = torch.tensor([[1.0], [3.0], [8.0]], requires_grad=True)
    reference = x.detach().clone().requires_grad_()
    weight = torch.tensor([[1.0], [2.0], [4.0]])
    (layer(x) * weight).sum().backward()
    (BatchNorm(1, 1)(reference) * weight).sum().backward()
    torch.testing.assert_close(x.grad, reference.grad)


@pytest.mark.parametrize(
    ("cls", "option"),
    [
        (GhostBatchNorm, "sync"),
        (BatchRenorm, "kernel"),
        (BatchRenorm, "track_running_stats"),
    ],
)
def test_options_that_would_do_nothing_are_refused(cls, option):
    with pytest.raises(
        ValueError,
        match=f"{option} is no option of .*; leave norm.{option} out or use norm=custom",
    ):
        cls(8, 2, **{option: False})


def test_noisy_norm_disturbs_training_only():
    layer, plain = NoisyBatchNorm(8, 2), BatchNorm(8, 2)
    torch.manual_seed(0)
    noisy, clean = layer(X), plain(X)
    assert not torch.allclose(noisy, clean, atol=0.05)
    assert not torch.allclose(noisy, layer(X), atol=0.05)
    assert (noisy - clean).abs().max() < 0.6 + 0.35 * clean.abs().max()
    fresh, reference = NoisyBatchNorm(8, 2).eval(), BatchNorm(8, 2).eval()
    torch.testing.assert_close(fresh(X), reference(X))


def test_frozen_norm_is_torchvisions():
    ours, theirs = FrozenBatchNorm(8, 2), torchvision.ops.FrozenBatchNorm2d(8)
    for layer in (ours, theirs):
        layer.running_mean.fill_(2.0)
        layer.running_var.fill_(4.0)
        layer.weight.fill_(3.0)
    same(ours.train(), theirs)
    assert list(ours.parameters()) == []
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_frozen_norm_loads_what_batch_norms_stored():
    theirs = nn.Sequential(nn.BatchNorm1d(3))
    theirs(torch.randn(4, 3))
    ours = nn.Sequential(FrozenBatchNorm(3, 1))
    ours.load_state_dict(theirs.state_dict())
    same(ours, theirs.eval(), torch.randn(5, 3))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        ours.load_state_dict(theirs.state_dict() | {"0.alpha": torch.ones(3)})


def test_filter_response_norm_is_timms():
    ours, theirs = (
        FilterResponseNorm(8, 2, eps=1e-5),
        timm.layers.FilterResponseNormTlu2d(8, eps=1e-5),
    )
    with torch.no_grad():
        ours.threshold.fill_(-0.25)
        theirs.tau.fill_(-0.25)
    same(ours, theirs)


def test_filter_response_norm_of_a_vector_by_head():
    layer = FilterResponseNorm(2, 1, eps=0.0)
    torch.testing.assert_close(
        layer(torch.tensor([[1.0, 7.0]])), torch.tensor([[0.2, 1.4]])
    )  # / sqrt(25)
    assert layer(torch.tensor([[1.0, -7.0]]))[0, 1].item() == 0.0


@pytest.mark.parametrize("axes", [(), (1,), (1, 1), (1, 1, 1)])
def test_filter_response_norm_of_one_position_is_that_of_a_vector(axes):
    layer = FilterResponseNorm(2, max(1, len(axes)), eps=0.0)
    torch.testing.assert_close(
        layer(torch.tensor([[1.0, 7.0]]).view(1, 2, *axes)).flatten(),
        torch.tensor([0.2, 1.4]),
    )
    one = FilterResponseNorm(1, max(1, len(axes)))
    with pytest.raises(
        ValueError, match=r"expected more than one value to normalize over, got shape"
    ):
        one(torch.ones(4, 1, *axes))


def test_root_mean_square_of_one_channel_is_refused():
    with pytest.raises(
        ValueError, match="root mean square norm needs at least 2 channels, got 1"
    ):
        RMSNorm(1, 2)


def test_evonorms_are_timms():
    same(EvoNormS0(8, 2, num_groups=4), timm.layers.EvoNorm2dS0(8, groups=4))
    ours, theirs = EvoNormB0(8, 2, eps=1e-3), timm.layers.EvoNorm2dB0(8, eps=1e-3)
    same(ours, theirs, tolerance=1e-3)  # timm adds eps outside of the instance's root
    torch.testing.assert_close(
        ours.running_var, theirs.running_var, rtol=1e-5, atol=1e-5
    )


def test_dynamic_tanh_by_head():
    layer = DynamicTanh(2, 1, alpha=2.0)
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.bias.fill_(1.0)
    expected = 3 * torch.tanh(torch.tensor([[1.0, -1.0]])) + 1
    torch.testing.assert_close(layer(torch.tensor([[0.5, -0.5]])), expected)


def test_weight_norm_computes_what_the_network_did_before():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 4, 2), nn.Flatten(), nn.Linear(24, 3))
    before = network(X)
    assert normalize_weights(network) is network
    torch.testing.assert_close(network(X), before)
    assert network[0].parametrizations.weight.original0.shape == (4, 1, 1, 1)


def test_standardized_weights_by_head():
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 3.0]]))
    output = network[1].weight.clone()
    standardize_weights(network, eps=0.0)
    torch.testing.assert_close(network[0].weight, torch.tensor([[-1.0, 1.0]]))
    assert torch.equal(network[1].weight, output)
    other = nn.Sequential(nn.Linear(4, 1))
    standardize_weights(
        other, scaled=True, activation_gain=3.0, eps=0.0, skip_output=False
    )
    assert other[0].weight.square().sum().item() == pytest.approx(
        9.0
    )  # 4 inputs, each of variance 9 / 4


def test_one_input_cannot_be_standardized():
    with pytest.raises(ValueError, match="at least 2 inputs"):
        standardize_weights(nn.Sequential(nn.Linear(1, 3)), skip_output=False)
