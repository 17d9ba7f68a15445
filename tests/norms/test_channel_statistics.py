from math import prod

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from normlab.norms.channel_statistics import (
    MANY_SAMPLES,
    channel_axes,
    channel_moments,
    channel_sum,
    column_sums,
    values_per_channel,
)
from normlab.norms.functional import moments
from norms.helpers import draw


@pytest.mark.parametrize(
    "shape",
    [
        (64, 1024),
        (40, 1024),
        (512, 2048),
        (7, 1024),
        (0, 1024),
        (32, 0),
        (64, 0),
        (64, 3),
    ],
)
def test_column_sums_of_whole_numbers_are_exact_for_any_width(shape: tuple[int, int]):
    x = torch.arange(shape[0] * shape[1], dtype=torch.float32).reshape(shape) % 7
    assert torch.equal(column_sums(x), x.double().sum(0).float())


@pytest.mark.parametrize(
    "of_memory",
    [
        lambda x: x[::2, 1:],
        lambda x: x[:, 1:],
        lambda x: x[:, 1:].t(),
        lambda x: x[:1, 1:].expand(512, -1),
    ],
)
def test_column_sums_go_through_any_memory_order(of_memory):
    x = of_memory(torch.arange(1024.0 * 1025).view(1024, 1025).remainder(7))
    assert torch.equal(column_sums(x), x.double().sum(0).float())


def test_batches_of_many_sizes_share_a_graph():
    graphs = CompileCounter()
    compiled = torch.compile(column_sums, fullgraph=True, backend=graphs)
    for size in (64, 128, 100, 512, 96, 72, 7):
        assert compiled(torch.ones(size, 3)).tolist() == [size] * 3
    assert graphs.frame_count == 2  # of the first size, and of any


@pytest.mark.parametrize(
    ("shape", "axes", "count"),
    [((6, 4), (0,), 6), ((6, 4, 5), (0, 2), 30), ((3, 4, 5, 2), (0, 2, 3), 30)],
)
def test_axes_and_values_of_channels(shape, axes, count):
    x = draw(*shape)
    assert channel_axes(x) == axes
    assert values_per_channel(x) == count
    torch.testing.assert_close(channel_sum(x), x.sum(axes))


@pytest.mark.parametrize(
    "shape",
    [
        (600, 3, 2),
        (600, 3, 1),
        (600, 3, 7, 7),
        (600, 3, 3, 2, 2),
        (600, 3, 0),
        (600, 0, 2),
    ],
)
@pytest.mark.parametrize("channels_last", [True, False])
def test_channel_sums_of_many_samples_are_exact(shape, channels_last):
    assert shape[0] > MANY_SAMPLES
    x = torch.arange(prod(shape), dtype=torch.float32).reshape(shape) % 7
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    assert torch.equal(channel_sum(x), x.double().sum(channel_axes(x)).float())


def test_no_values_and_no_channels_are_counted_as_none():
    assert values_per_channel(torch.empty(0, 4, 3)) == 0
    assert values_per_channel(torch.empty(5, 0)) == 0


@pytest.mark.parametrize("shape", [(6, 4), (48, 1024), (6, 4, 5), (3, 4, 5, 2)])
def test_channel_moments_are_moments_of_all_other_axes(shape):
    x = draw(*shape)
    expected = moments(x, channel_axes(x))
    torch.testing.assert_close(channel_moments(x), expected, rtol=1e-12, atol=1e-12)


def test_channel_moments_worked_by_head():
    mean, var = channel_moments(torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
    assert mean.tolist() == [[2.0, 20.0]]
    assert var.tolist() == [[1.0, 100.0]]


def test_channel_moments_of_half_precision_are_float32():
    x = torch.full((4096, 1), 100.0, dtype=torch.float16)
    mean, var = channel_moments(x)
    assert mean.dtype == var.dtype == torch.float32
    assert (mean.item(), var.item()) == (100.0, 0.0)


@pytest.mark.parametrize("shape", [(0, 2), (0, 2, 3), (3, 2, 0)])
def test_channels_without_values_have_moments_of_zero(shape):
    mean, var = channel_moments(torch.empty(shape))
    assert mean.flatten().tolist() == var.flatten().tolist() == [0, 0]
