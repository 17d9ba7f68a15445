import pytest
import torch
from torch import nn

from normlab.norms import BatchNorm, BatchNorm1d, BatchNorm2d, channel_statistics
from normlab.norms.batch_statistics import normalize_batch, normalize_by_autograd
from norms.helpers import (
    assert_alike,
    channels,
    draw,
    over_channels,
    randomized,
    step,
)

SHAPES = [(6, 4), (6, 4, 5), (3, 4, 5, 6), (3, 4, 2, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_batch_is_normalized_by_its_own_statistics(shape):
    x = draw(*shape)
    weight = draw(4, seed=1)
    bias = draw(4, seed=2)
    y, mean, var = normalize_batch(x, weight, bias, 0.3)

    means = over_channels(torch.mean, x)
    variances = over_channels(lambda values: values.var(correction=0), x)
    xhat = (x - means) / (variances + 0.3).sqrt()
    torch.testing.assert_close(y, xhat * channels(weight, x) + channels(bias, x))
    torch.testing.assert_close(channels(mean, x), means)
    torch.testing.assert_close(channels(var, x), variances)


def test_a_batch_worked_by_head():
    x = torch.tensor([[1.0], [5.0]])  # mean 3, variance 4
    weight, bias = torch.tensor([10.0]), torch.tensor([1.0])
    y, mean, var = normalize_batch(x, weight, bias, 0.0)
    assert y.tolist() == [[-9.0], [11.0]]
    assert (mean.tolist(), var.tolist()) == ([3.0], [4.0])
    y, _, _ = normalize_batch(x, None, bias, 0.0)
    assert y.tolist() == [[0.0], [2.0]]
    y, _, _ = normalize_batch(x, weight, None, 0.0)
    assert y.tolist() == [[-10.0], [10.0]]


def test_gradients_worked_by_head():
    """Of xhat = [-1, 1, -1, 1] and dy = [1, 0, 0, 0]."""
    x = torch.tensor([[1.0], [5.0], [1.0], [5.0]], requires_grad=True)
    weight = torch.tensor([8.0], requires_grad=True)
    bias = torch.tensor([3.0], requires_grad=True)
    y, _, _ = normalize_batch(x, weight, bias, 0.0)
    y[0].sum().backward()
    assert bias.grad.tolist() == [1.0]
    assert weight.grad.tolist() == [-1.0]
    # 8 / 2 * (dy - 1 / 4 - xhat * (-1) / 4)
    assert x.grad.flatten().tolist() == [2.0, 0.0, -2.0, 0.0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", ["scale and shift", "scale", "shift", "neither"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "to differentiate again"])
def test_the_closed_form_is_what_autograd_finds(shape, affine, again):
    def outcome(function):
        x = draw(*shape).requires_grad_()
        weight = draw(4, seed=1).requires_grad_() if "scale" in affine else None
        bias = draw(4, seed=2).requires_grad_() if "shift" in affine else None
        y, mean, var = function(x, weight, bias, 0.3)
        assert not mean.requires_grad
        assert not var.requires_grad
        leaves = [leaf for leaf in (x, weight, bias) if leaf is not None]
        dy = draw(*shape, seed=3)
        return [y, mean, var, *torch.autograd.grad(y, leaves, dy, create_graph=again)]

    torch.testing.assert_close(
        outcome(normalize_batch),
        outcome(normalize_by_autograd),
        rtol=1e-12,
        atol=1e-12,
    )


def test_gradients_have_the_precision_of_what_they_belong_to():
    x = draw(6, 4, dtype=torch.bfloat16).requires_grad_()
    weight = torch.ones(4, requires_grad=True)
    bias = torch.zeros(4, dtype=torch.bfloat16, requires_grad=True)
    y, mean, var = normalize_batch(x, weight, bias, 1e-5)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == bias.grad.dtype == torch.bfloat16
    assert mean.dtype == var.dtype == weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("shape", "dtype", "tolerance"),
    [((32, 1024), torch.float32, 1e-5), ((48, 2048), torch.float64, 1e-10)],
    ids=str,
)
def test_columns_a_memory_page_apart_equal_torchs(shape, dtype, tolerance):
    assert shape[1] * dtype.itemsize % channel_statistics.PAGE_BYTES == 0
    assert shape[0] > channel_statistics.ROWS
    ours, theirs = BatchNorm1d(shape[1]).to(dtype), nn.BatchNorm1d(shape[1]).to(dtype)
    for seed in range(3):
        x = draw(*shape, seed=seed, dtype=dtype)
        dy = draw(*shape, seed=10 + seed, dtype=dtype)
        assert_alike(step(ours, x, dy), step(theirs, x, dy), tolerance)
    assert_alike(ours.state_dict().values(), theirs.state_dict().values(), tolerance)


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "transposed"])
def test_every_memory_layout_equals_torchs(layout):
    x, dy = draw(6, 4, 8, 8), draw(6, 4, 8, 8, seed=1)
    x = {
        "channels_last": x.to(memory_format=torch.channels_last),
        "sliced": draw(12, 4, 8, 16)[::2, :, :, ::2],
        "transposed": x.transpose(2, 3),
    }[layout]
    ours, theirs = BatchNorm2d(4).double(), nn.BatchNorm2d(4).double()
    assert_alike(step(ours, x, dy), step(theirs, x, dy), 1e-10)
    if layout == "channels_last":
        assert ours(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (5, 3)), (1, (4, 3, 2)), (2, (3, 3, 2, 2)), (3, (3, 3, 1, 2, 2))],
)
def test_gradients_and_second_derivatives(dim, shape, training):
    torch.manual_seed(0)
    layer = randomized(BatchNorm(3, dim)).train(training)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = (
        x,
        torch.rand(3).double().requires_grad_(),
        torch.rand(3).double().requires_grad_(),
    )
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


@pytest.mark.parametrize("shape", [(5, 3), (3, 3, 2, 2)])
def test_second_derivatives_without_scale_and_shift(shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        BatchNorm(3, len(shape) // 2, affine=False).double(), (x,)
    )


@pytest.mark.parametrize("shape", [(512, 3), (100, 3)], ids=["rows by eight", "rows"])
def test_compiled_columns_equal_eager_ones(shape):
    torch.manual_seed(0)
    x, dy = (3 * torch.randn(shape) + 100).double(), torch.randn(shape).double()
    eager, formula = (
        BatchNorm1d(3).double(),
        torch.compile(BatchNorm1d(3).double(), fullgraph=True, backend="eager"),
    )
    found, expected = step(formula, x, dy), step(eager, x, dy)
    assert_alike(found, expected, 1e-10)


@pytest.mark.parametrize("mean", [0, 30])
@pytest.mark.parametrize("shape", [(131072, 3, 2), (32768, 3, 2, 2), (4096, 16, 7, 7)])
def test_many_samples_lose_no_digits(shape, mean):
    """Against float64; PyTorch's sums over samples and positions lose two digits."""
    x = draw(*shape, dtype=torch.float32) / 2 + mean
    dy = draw(*shape, seed=1, dtype=torch.float32) / 2 - 0.5
    layer = BatchNorm(shape[1], max(1, len(shape) - 2))
    exact = BatchNorm(shape[1], max(1, len(shape) - 2)).double()
    found = step(layer, x, dy)
    expected = step(exact, x.double(), dy.double())

    errors = [
        (a.double() - b).abs().max().item()
        for a, b in zip(found, expected, strict=True)
    ]
    unit = torch.finfo(torch.float32).eps
    num_values = x.numel() / shape[1]
    assert errors[0] < 8 * unit * (1 + mean)  # y
    assert errors[1] < 16 * unit  # dx
    assert errors[2] < 0.01 * num_values * unit * (1 + mean)  # dweight
    assert errors[3] < 0.01 * num_values * unit  # dbias
