import copy

import pytest
import torch

from normlab.norms import (
    BatchNorm,
    BatchRenorm,
    GhostBatchNorm,
    InstanceNorm,
    NoisyBatchNorm,
)
from norms.helpers import assert_same, channels, draw, over_channels, randomized

X = draw(5, 8, 4, 3, dtype=torch.float32)


# -- Ghost batch norm ------------------------------------------------------------------


def test_ghost_norm_is_batch_norm_of_each_part():
    ghost, parts = GhostBatchNorm(8, 2, size=2), [BatchNorm(8, 2) for _ in range(2)]
    # The fifth sample joins the second part.
    expected = torch.cat([parts[0](X[:2]), parts[1](X[2:])])
    torch.testing.assert_close(ghost(X), expected)
    torch.testing.assert_close(
        ghost.running_mean, (2 * parts[0].running_mean + 3 * parts[1].running_mean) / 5
    )


def test_ghost_norm_with_random_state():
    ghost = randomized(GhostBatchNorm(8, 2, size=2, eps=0.3, momentum=0.25))
    before = copy.deepcopy(ghost)
    x = draw(8, 8, 3, 2)
    parts = [BatchNorm(8, 2, eps=0.3, momentum=0.25).double() for _ in range(4)]
    for part in parts:
        part.load_state_dict(before.state_dict())
    pairs = zip(parts, x.split(2), strict=True)
    torch.testing.assert_close(ghost(x), torch.cat([part(own) for part, own in pairs]))
    means = torch.stack([part.running_mean for part in parts])
    variances = torch.stack([part.running_var for part in parts])
    torch.testing.assert_close(ghost.running_mean, means.mean(0))
    torch.testing.assert_close(ghost.running_var, variances.mean(0))
    assert ghost.num_batches_tracked.item() == 1
    plain = BatchNorm(8, 2, eps=0.3).double()
    plain.load_state_dict(ghost.state_dict())
    assert torch.equal(ghost.eval()(x), plain.eval()(x))


def test_ghost_norms_averages_weigh_a_shorter_part_by_its_values():
    layer = GhostBatchNorm(1, 1, size=3, momentum=1.0)
    # Parts of mean 3 and 11, with squares of 14 and 2 around them.
    layer(torch.tensor([[1.0], [2.0], [6.0], [10.0], [12.0]]))
    assert layer.running_mean.item() == pytest.approx((3 * 3 + 2 * 11) / 5)
    assert layer.running_var.item() == pytest.approx((14 + 2) / (5 - 2))


@pytest.mark.parametrize(("batch", "size"), [(66, 64), (34, 16), (64, 16)])
def test_ghost_norms_running_variance_is_unbiased_for_any_last_part(batch, size):
    generator = torch.Generator().manual_seed(0)
    layer = GhostBatchNorm(1000, 1, size=size, momentum=None)
    for _ in range(20):
        layer(2 * torch.randn(batch, 1000, generator=generator))
    assert layer.running_var.mean().item() == pytest.approx(4.0, rel=0.01)


def test_ghost_norm_of_single_images_takes_each_by_itself():
    torch.testing.assert_close(GhostBatchNorm(8, 2, size=1)(X), InstanceNorm(8, 2)(X))


def test_ghost_norm_of_the_whole_batch_is_batch_norm():
    assert_same(GhostBatchNorm(8, 2, size=64), BatchNorm(8, 2), X)


def test_ghost_norm_without_running_statistics_evaluates_by_the_whole_batch():
    layer = GhostBatchNorm(1, 1, size=2, track_running_stats=False, eps=0.0)
    x = torch.tensor([[0.0], [2.0], [10.0], [12.0]])  # mean 6, variance 26
    assert layer(x).flatten().tolist() == [-1.0, 1.0, -1.0, 1.0]
    std = 26**0.5
    expected = torch.tensor([[-6 / std], [-4 / std], [4 / std], [6 / std]])
    torch.testing.assert_close(layer.eval()(x), expected)


def test_parts_of_one_value_are_refused():
    with pytest.raises(ValueError, match=r"one value per channel .*shape \(1, 3\)"):
        GhostBatchNorm(3, 1, size=1)(torch.randn(4, 3))
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        GhostBatchNorm(3, 1, size=0)


# -- Batch renormalization -------------------------------------------------------------


def test_batch_renorm_starts_as_batch_norm():
    assert_same(BatchRenorm(8, 2, warmup_steps=1), BatchNorm(8, 2), X)


def test_batch_renorm_worked_by_head():
    layer = BatchRenorm(
        1, 1, r_max=3.0, d_max=5.0, warmup_steps=0, ramp_steps=0, eps=0.0
    )
    layer.num_batches_tracked.fill_(10)
    layer.running_mean.fill_(1.0)
    layer.running_var.fill_(4.0)  # sigma 2
    x = torch.tensor([[2.0], [6.0]])  # mean 4, sigma 2: r = 1, d = 1.5
    # As evaluation by the running statistics.
    torch.testing.assert_close(layer(x), torch.tensor([[0.5], [2.5]]))


@pytest.mark.parametrize(("seen", "is_corrected"), [(0, False), (1, False), (2, True)])
def test_without_a_ramp_batch_renorm_corrects_after_its_warm_up(seen, is_corrected):
    layer = BatchRenorm(4, 1, warmup_steps=2, ramp_steps=0)
    layer.num_batches_tracked.fill_(seen)
    layer.running_mean.fill_(2.0)
    x = draw(6, 4, dtype=torch.float32)
    plain = BatchNorm(4, 1)(x)
    assert torch.allclose(layer(x), plain, atol=1e-6) != is_corrected


def test_batch_renorm_by_its_formula_with_random_state():
    options = {"r_max": 3.0, "d_max": 5.0, "warmup_steps": 10, "ramp_steps": 40}
    layer = randomized(BatchRenorm(4, 2, eps=0.3, **options))
    layer.num_batches_tracked.fill_(20)  # a quarter of the ramp
    before = copy.deepcopy(layer)
    x = draw(6, 4, 3, 2)
    mean = over_channels(torch.mean, x)
    std = (over_channels(lambda v: v.var(correction=0), x) + 0.3).sqrt()
    running_std = (channels(before.running_var, x) + 0.3).sqrt()
    running_mean = channels(before.running_mean, x)
    r = (std / running_std).clamp(1 / 1.5, 1.5)
    d = ((mean - running_mean) / running_std).clamp(-1.25, 1.25)
    assert (r != std / running_std).any()  # some are clipped
    y = (x - mean) / std * r + d
    y = y * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), y)
    torch.testing.assert_close(
        channels(layer.running_mean, x), 0.9 * running_mean + 0.1 * mean
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_batch_renorm_in_half_precision_rounds_once(dtype):
    layer = randomized(BatchRenorm(4, 2, warmup_steps=0, ramp_steps=0)).to(dtype)
    layer.num_batches_tracked.fill_(10)
    exact = BatchRenorm(4, 2, warmup_steps=0, ramp_steps=0).double()
    exact.load_state_dict(layer.state_dict())
    x = draw(16, 4, 7, 7, dtype=dtype)
    expected = exact(x.double())
    unit = torch.finfo(dtype).eps
    error = (layer(x).double() - expected).abs()
    assert (error <= 0.51 * unit * expected.abs() + unit**2).all()


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


def test_batch_renorm_clips_either_correction_on_either_side():
    options = {"r_max": 1.5, "d_max": 0.5, "warmup_steps": 0, "ramp_steps": 0}
    layer = randomized(BatchRenorm(4, 1, eps=0.0, **options))
    layer.num_batches_tracked.fill_(10)
    layer.running_mean.copy_(torch.tensor([9.0, -9.0, 0.0, 0.0]))  # d is -10 and 10
    layer.running_var.copy_(torch.tensor([1.0, 1.0, 100.0, 0.01]))  # r is 0.1 and 10
    x = torch.tensor([[-1.0], [1.0]]).double().expand(2, 4)  # mean 0, deviation 1
    xhat = x
    r = torch.tensor([1.0, 1.0, 1 / 1.5, 1.5])
    d = torch.tensor([-0.5, 0.5, 0.0, 0.0])
    expected = (xhat * r.double() + d) * layer.weight + layer.bias
    torch.testing.assert_close(layer(x), expected)


def test_batch_renorms_corrections_are_constants_in_the_gradient():
    options = {"r_max": 100.0, "d_max": 100.0, "warmup_steps": 0, "ramp_steps": 0}
    layer = randomized(BatchRenorm(4, 2, eps=0.3, **options))
    layer.num_batches_tracked.fill_(10)
    x = draw(6, 4, 3, 2).requires_grad_()
    dy = draw(6, 4, 3, 2, seed=1)
    mean = over_channels(torch.mean, x)
    std = (over_channels(lambda v: v.var(correction=0), x) + 0.3).sqrt()
    running_std = (channels(layer.running_var, x) + 0.3).sqrt()
    r = (std / running_std).detach()
    d = ((mean - channels(layer.running_mean, x)) / running_std).detach()
    y = (x - mean) / std * r + d
    y = y * channels(layer.weight, x) + channels(layer.bias, x)
    inputs = (x, layer.weight, layer.bias)
    expected = torch.autograd.grad(y, inputs, dy)
    torch.testing.assert_close(torch.autograd.grad(layer(x), inputs, dy), expected)


def test_batch_renorm_without_scale_or_shift():
    x = draw(6, 4)
    for options in ({"affine": False}, {"bias": False}):
        layer = randomized(BatchRenorm(4, 1, warmup_steps=1, **options))
        twin = BatchNorm(4, 1, **options).double()
        twin.load_state_dict(layer.state_dict())
        assert_same(layer, twin, x, 1e-12)


def test_limits_that_exclude_no_correction_are_refused():
    with pytest.raises(ValueError, match=r"r_max must be at least 1 .* got 0.5 and 5"):
        BatchRenorm(4, 1, r_max=0.5)
    with pytest.raises(ValueError, match=r"d_max at least 0, got 3.0 and -1"):
        BatchRenorm(4, 1, d_max=-1)


# -- Noisy batch norm ------------------------------------------------------------------


def test_noisy_norm_disturbs_training_only():
    layer, plain = NoisyBatchNorm(8, 2), BatchNorm(8, 2)
    torch.manual_seed(0)
    noisy, clean = layer(X), plain(X)
    assert not torch.allclose(noisy, clean, atol=0.05)
    assert not torch.allclose(noisy, layer(X), atol=0.05)
    assert (noisy - clean).abs().max() < 0.6 + 0.35 * clean.abs().max()
    fresh, reference = NoisyBatchNorm(8, 2).eval(), BatchNorm(8, 2).eval()
    torch.testing.assert_close(fresh(X), reference(X))


def test_noise_lies_within_its_ranges_around_that_of_its_channel():
    """Constant input leaves the shift alone, of scale 0 and bias 0."""
    layer = NoisyBatchNorm(500, 1, mean_range=2.0, scale_range=1.0, spread=0.25)
    torch.manual_seed(0)
    with torch.no_grad():
        shift = layer(torch.full((40, 500), 7.0))
    spread = shift.amax(0) - shift.amin(0)
    assert spread.min() > 0.4
    assert spread.max() < 0.5  # twice 0.25
    means = shift.mean(0)
    assert 1.8 < means.max() < 2.1
    assert -2.1 < means.min() < -1.8


def noise_of_scale(**options):
    """The factors, ``(N, C)``, beside which the noise of the shift is negligible."""
    layer = NoisyBatchNorm(500, 1, mean_range=0.0, scale_range=1.5, **options)
    with torch.no_grad():
        layer.weight.fill_(1e6)
    x = torch.tensor([-1.0, 1.0]).repeat(20)[:, None].expand(40, 500)
    torch.manual_seed(0)
    return layer(x).detach() / (1e6 * x)


def test_the_scale_of_noise_is_at_least_one():
    scale = noise_of_scale(spread=0.0)
    assert (scale.amax(0) - scale.amin(0)).max() < 1e-3  # one factor per channel
    assert 0.999 < scale.min() < 1.02
    assert 1.48 < scale.max() < 1.501


def test_the_scale_of_noise_differs_from_value_to_value():
    scale = noise_of_scale(spread=0.25)
    spread = scale.amax(0) - scale.amin(0)
    assert spread.min() > 0.35
    assert spread.max() < 0.501  # twice 0.25
    assert 1.2 < scale.mean() < 1.3


def test_noisy_norm_without_noise_is_batch_norm():
    layer = NoisyBatchNorm(4, 2, mean_range=0.0, scale_range=1.0, spread=0.0)
    layer = randomized(layer)
    twin = BatchNorm(4, 2).double()
    twin.load_state_dict(layer.state_dict())
    assert_same(layer, twin, draw(6, 4, 3, 2), 1e-12)
    torch.testing.assert_close(dict(layer.named_buffers()), dict(twin.named_buffers()))


# -- All of them -----------------------------------------------------------------------


@pytest.mark.parametrize("cls", [GhostBatchNorm, BatchRenorm, NoisyBatchNorm])
def test_plain_variants_normalize_as_batch_norm(cls):
    options = {"size": 2} if cls is GhostBatchNorm else {}
    layer = randomized(cls(4, 1, **options))
    layer.num_batches_tracked.fill_(5000)  # beyond the ramp of batch renormalization
    twin = BatchNorm(4, 1).double()
    twin.load_state_dict(layer.state_dict())
    layer.plain = True
    assert_same(layer, twin, draw(6, 4), 1e-12)
    torch.testing.assert_close(layer.state_dict(), twin.state_dict())


@pytest.mark.parametrize(
    ("cls", "option"),
    [
        (GhostBatchNorm, "sync"),
        (GhostBatchNorm, "kernel"),
        (BatchRenorm, "sync"),
        (BatchRenorm, "kernel"),
        (BatchRenorm, "track_running_stats"),
    ],
)
def test_options_that_would_do_nothing_are_refused(cls, option):
    message = f"{option} is no option of .*; leave norm.{option} out or use norm=custom"
    with pytest.raises(ValueError, match=message):
        cls(8, 2, **{option: False})
