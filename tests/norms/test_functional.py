import torch

from normlab.norms.functional import (
    moments,
    normalize,
    per_channel,
    statistics_dtype,
    update_average,
)


def test_moments_of_a_table_worked_by_head():
    mean, var = moments(torch.tensor([[1.0, 10.0], [3.0, 30.0]]), (0,))
    assert mean.tolist() == [[2.0, 20.0]]
    assert var.tolist() == [[1.0, 100.0]]


def test_moments_over_several_axes_broadcast_to_the_input():
    x = torch.arange(12.0).view(2, 3, 2)
    mean, var = moments(x, (0, 2))
    assert mean.tolist() == [[[3.5], [5.5], [7.5]]]  # 0 1 6 7, then 2 more
    assert var.tolist() == [[[9.25]] * 3]


def test_moments_do_not_cancel_where_the_mean_is_large():
    x = torch.tensor([[10000.0], [10002.0]])
    assert moments(x, (0,))[1].item() == 1.0


def test_moments_of_half_precision_are_float32():
    # The sum, 409,600, is beyond float16.
    x = torch.full((4096, 1), 100.0, dtype=torch.float16)
    mean, var = moments(x, (0,))
    assert mean.dtype == torch.float32
    assert (mean.item(), var.item()) == (100.0, 0.0)


def test_no_values_have_moments_of_zero():
    cases = (
        (torch.empty(0, 2), (0,), (1, 2)),
        (torch.empty(3, 2, 0), (0, 2), (1, 2, 1)),
    )
    for x, axes, shape in cases:
        mean, var = moments(x, axes)
        assert mean.shape == var.shape == shape
        assert mean.flatten().tolist() == var.flatten().tolist() == [0, 0]


def test_statistics_have_at_least_float32():
    assert statistics_dtype(torch.float16) == torch.float32
    assert statistics_dtype(torch.bfloat16) == torch.float32
    assert statistics_dtype(torch.float32) == torch.float32
    assert statistics_dtype(torch.float64) == torch.float64


def test_normalize_scales_then_shifts():
    x, mean, var = torch.tensor([1.0, 5.0]), torch.tensor(3.0), torch.tensor(4.0)
    assert normalize(x, mean, var, 0.0).tolist() == [-1.0, 1.0]
    assert normalize(
        x, mean, var, 0.0, torch.tensor(10.0), torch.tensor(1.0)
    ).tolist() == [-9.0, 11.0]


def test_normalize_adds_eps_to_the_variance():
    x, zero = torch.tensor([2.0]), torch.tensor(0.0)
    assert normalize(x, zero, torch.tensor(3.0), 1.0).tolist() == [1.0]


def test_constant_input_gives_the_bias():
    zero = torch.zeros(3)
    y = normalize(zero, zero, zero, 1e-5, None, torch.full((3,), 7.0))
    assert y.tolist() == [7.0] * 3


def test_normalize_returns_the_precision_it_was_given():
    x = torch.tensor([1.0, 5.0], dtype=torch.bfloat16)
    y = normalize(x, torch.tensor(3.0), torch.tensor(4.0), 0.0)
    assert y.dtype == torch.bfloat16


def test_per_channel_acts_on_axis_one():
    assert per_channel(torch.ones(3), 4).shape == (1, 3, 1, 1)
    assert per_channel(None, 4) is None
    vector = torch.ones(3)
    assert per_channel(vector, 2) is vector


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
