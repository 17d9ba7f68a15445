"""Right and wrong formulas, on numbers that can be checked by head."""

import pytest
import torch

from normlab.check.formulas import Formula, over_batch, over_positions, wrong_forms

# Channel 0 has 1 and 5 (mean 3, variance 4), channel 1 has 0 and 20 (mean 10, var 100).
X = torch.tensor([[1.0, 0.0], [5.0, 20.0]])
RIGHT = Formula(over_batch)
FORMS = dict(wrong_forms((RIGHT,), 2))


def test_the_right_formula():
    assert RIGHT(X).tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert RIGHT(X, eps=21.0)[0].tolist() == pytest.approx([-0.4, -10 / 11])
    assert RIGHT.count((6, 4, 3, 2)) == 36
    assert Formula(over_positions, groups=2).count((6, 4, 3)) == 6


@pytest.mark.parametrize(
    ("form", "first_row"),
    [
        (Formula(over_batch, correction=1), [-(0.5**0.5), -(0.5**0.5)]),
        (Formula(over_batch, subtracts_mean=False), [0.5, 0.0]),
        (Formula(over_batch, takes_root=False), [-0.5, -0.1]),
        (Formula(over_batch, divides=False), [-2.0, -10.0]),
        (Formula(over_batch, subtracts_mean=False, about_mean=False), [1 / 13**0.5, 0]),
    ],
)
def test_wrong_forms_are_what_they_are_called(form, first_row):
    assert form(X)[0].tolist() == pytest.approx(first_row)


def test_memory_read_as_if_the_channels_came_first():
    x = torch.arange(8.0).view(2, 2, 2)  # channel 0 holds 0, 1, 4, 5
    form = Formula(over_batch, reads_memory=True, divides=False)
    # The first four values in memory, 0 to 3, are taken for channel 0.
    assert form(x)[0, 0].tolist() == [-1.5, -0.5]
    assert form(x)[0, 1].tolist() == [-3.5, -2.5]


def test_groups_share_their_statistics():
    x = torch.tensor([[1.0, 3.0, 10.0, 30.0]])
    assert Formula(over_batch, groups=2)(x).tolist() == [[-1.0, 1.0, -1.0, 1.0]]


def test_detached_statistics_change_the_gradient_only():
    x = X.clone().requires_grad_()
    detached = Formula(over_batch, detached=("mean", "var"))
    assert torch.equal(detached(x), RIGHT(x))
    (grad,) = torch.autograd.grad(detached(x)[0].sum(), x)
    assert grad[0].tolist() == pytest.approx([0.5, 0.1])
    assert grad[1].tolist() == [0.0, 0.0]


def test_no_wrong_form_is_right():
    assert all(not torch.allclose(form(X), RIGHT(X)) for form in FORMS.values())
