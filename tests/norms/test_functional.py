import pytest
import torch
from torch._dynamo.testing import CompileCounter

from normlab.norms.functional import (
    column_sums,
    moments,
    normalize,
    per_channel,
    update_average,
)


def test_moments_of_a_table_worked_by_head():
    mean, var = moments(torch.tensor([[1.0, 10.0], [3.0, 30.0]]), (0,))
    assert mean.tolist() == [[2.0, 20.0]]
    assert var.tolist() == [[1.0, 100.0]]


def test_moments_do_not_cancel_where_the_mean_is_large():
    x = torch.tensor([[10000.0], [10002.0]])
    assert moments(x, (0,))[1].item() == 1.0


def test_moments_of_half_precision_are_float32():
    x = torch.full(
        (4096, 1), 100.0, dtype=torch.float16
    )  # the sum, 409,600, is beyond float16
    mean, var = moments(x, (0,))
    assert mean.dtype == torch.float32
    assert (mean.item(), var.item()) == (100.0, 0.0)


def test_no_values_have_moments_of_zero():
    for x, axes in ((torch.empty(0, 2), (0,)), (torch.empty(3, 2, 0), (0, 2))):
        mean, var = moments(x, axes)
        assert mean.flatten().tolist() == var.flatten().tolist() == [0, 0]


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
def test_column_sums_are_exact_for_whole_numbers_whatever_the_width(
    shape: tuple[int, int],
):
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


def test_normalize_scales_then_shifts():
    x, mean, var = torch.tensor([1.0, 5.0]), torch.tensor(3.0), torch.tensor(4.0)
    assert normalize(x, mean, var, 0.0).tolist() == [-1.0, 1.0]
    assert normalize(
        x, mean, var, 0.0, torch.tensor(10.0), torch.tensor(1.0)
    ).tolist() == [-9.0, 11.0]


def test_constant_input_gives_the_bias():
    zero = torch.zeros(3)
    assert (
        normalize(zero, zero, zero, 1e-5, None, torch.full((3,), 7.0)).tolist()
        == [7.0] * 3
    )


def test_normalize_returns_the_precision_it_was_given():
    x = torch.tensor([1.0, 5.0], dtype=torch.bfloat16)
    assert (
        normalize(x, torch.tensor(3.0), torch.tensor(4.0), 0.0).dtype == torch.bfloat16
    )


def test_per_channel_acts_on_axis_one():
    assert per_channel(torch.ones(3), 4).shape == (1, 3, 1, 1)
    assert per_channel(None, 4) is None


def test_momentum_is_the_weight_of_the_new_value():
    average = torch.tensor([10.0])
    update_average(average, torch.tensor([20.0]), 0.1)
    assert average.item() == 11.0


def test_a_factor_applies_to_the_new_value_alone():
    for momentum, factor in (
        (0.1, 2.0),
        (torch.tensor(0.1), 2.0),
        (0.1, torch.tensor(2.0)),
    ):
        average = torch.tensor([10.0])
        update_average(average, torch.tensor([10.0]), momentum, factor)
        assert average.item() == 11.0
