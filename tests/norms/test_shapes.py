import pytest
import torch

from normlab.norms.shapes import (
    check_dim,
    check_input,
    position_axes,
    realized_groups,
    refuse_one_value,
    refuse_one_value_per_group,
)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_dims_of_torchs_class_names_are_returned(dim):
    assert check_dim(dim) == dim


@pytest.mark.parametrize("dim", [0, 4, "2", None])
def test_other_dims_are_refused(dim):
    with pytest.raises(ValueError, match=f"dim must be 1, 2 or 3, got {dim!r}"):
        check_dim(dim)


@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (2, 4)), (1, (2, 4, 3)), (2, (2, 4, 3, 3)), (3, (2, 4, 1, 1, 1))],
)
def test_input_of_the_layers_shape_is_accepted(dim, shape):
    check_input(torch.empty(shape), 4, dim)


@pytest.mark.parametrize(
    ("dim", "shape", "ranks"),
    [
        (1, (2, 4, 3, 3), "2D or 3D"),
        (2, (2, 4), "4D"),
        (2, (2, 5, 3, 3), "4D"),
        (3, (2, 4, 3, 3), "5D"),
    ],
)
def test_other_input_is_refused_with_both_shapes(dim, shape, ranks):
    with pytest.raises(ValueError) as error:
        check_input(torch.empty(shape), 4, dim)
    assert str(error.value) == (
        f"expected {ranks} input with 4 channels on axis 1, got shape {shape}"
    )


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 4), ()), ((2, 4, 3), (2,)), ((2, 4, 3, 3, 3), (2, 3, 4))]
)
def test_positions_are_the_axes_behind_the_channels(shape, axes):
    assert position_axes(torch.empty(shape)) == axes


@pytest.mark.parametrize(
    ("channels", "groups", "found"),
    [(16, 8, 8), (6, 32, 2), (12, 8, 4), (7, 8, 1), (7, 1, 1)],
)
def test_groups_become_the_largest_common_divisor(channels, groups, found):
    assert realized_groups(channels, groups, largest_divisor=True) == found


def test_one_value_per_channel_is_refused_and_two_are_not():
    refuse_one_value(torch.empty(2, 4))
    refuse_one_value(torch.empty(1, 4, 2))
    with pytest.raises(ValueError) as error:
        refuse_one_value(torch.empty(1, 4, 1, 1))
    assert str(error.value) == (
        "expected more than one value per channel when training, got input of shape "
        "(1, 4, 1, 1); use a larger batch, or a norm that does not depend on it"
    )


@pytest.mark.parametrize(
    ("channels", "advice"),
    [(4, "use fewer groups"), (1, "use norm=none or more features")],
)
def test_one_value_per_group_is_refused_and_two_are_not(channels, advice):
    x = torch.empty(3, channels)
    refuse_one_value_per_group(torch.empty(3, channels, 1, 2), x)
    with pytest.raises(ValueError) as error:
        refuse_one_value_per_group(x[:, :, None], x)
    assert str(error.value) == (
        f"expected more than one value per group, got {channels} groups for shape "
        f"(3, {channels}); {advice}"
    )


def test_groups_that_do_not_divide_are_refused_if_they_must():
    assert realized_groups(16, 8, largest_divisor=False) == 8
    with pytest.raises(ValueError, match="got 8 groups for 12 channels"):
        realized_groups(12, 8, largest_divisor=False)
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        realized_groups(12, 0, largest_divisor=True)
