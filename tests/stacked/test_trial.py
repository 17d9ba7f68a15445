import pytest
import torch
from torch import nn

from normlab.stacked.alike import NotStackable, check_alike
from normlab.stacked.stack import Stack
from normlab.stacked.trial import check_equal, score_alike


class Branches(nn.Module):
    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


class Replaces(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(6))

    def forward(self, inputs):
        if self.training:
            self.average = inputs.detach().mean(0)
        return inputs


class Shares(nn.Module):
    """Scales by a number that no buffer holds."""

    scale = 1.0

    def forward(self, inputs):
        return inputs * self.scale


def refusal(found, asked):
    stack = Stack([run.task for run in found])
    with pytest.raises(NotStackable) as error:
        check_equal(stack, asked)
    return str(error.value)


def test_runs_that_are_the_same_in_a_stack_are_left_as_they_are(runs):
    found, asked = runs()
    before = [
        {name: value.clone() for name, value in run.network.state_dict().items()}
        for run in found
    ]
    stack = Stack([run.task for run in found])
    check_alike(asked)
    bytes_of_run = check_equal(stack, asked)
    weights = sum(value.nbytes for value in found[0].network.parameters())
    assert bytes_of_run > 8 * weights
    for run, state in zip(found, before, strict=True):
        for name, value in run.network.state_dict().items():
            assert torch.equal(value, state[name]), name


def test_a_network_that_draws_random_numbers_is_refused(runs):
    text = refusal(*runs("norm=noisy_batch"))
    assert text == (
        "hidden.0.norm (NoisyBatchNorm) draws random numbers in training, which differ "
        "in a stack"
    )


def test_dropout_is_that_of_each_run(runs):
    found, asked = runs("model.dropout=0.5")
    with_states = []
    for number, request in enumerate(asked):
        state = torch.Generator().manual_seed(number).get_state()
        with_states.append(request._replace(random_state=state))
    check_equal(Stack([run.task for run in found]), with_states)


def test_a_stack_with_random_numbers_of_its_own_is_compared_in_evaluation(runs):
    found, asked = runs("norm=noisy_batch")
    check_equal(Stack([run.task for run in found], "different"), asked)
    assert all(run.network.training for run in found)
    with_module(found, Shares)
    found[2].network.hidden.own.scale = 2.0
    with pytest.raises(NotStackable, match="is not the same in a stack"):
        check_equal(Stack([run.task for run in found], "different"), asked)


@pytest.mark.parametrize(
    ("norm", "module"),
    [("noisy_batch", "NoisyBatchNorm"), ("spectral", "_SpectralNorm")],
)
def test_norms_that_vmap_cannot_take_are_named(runs, norm, module):
    assert f"({module})" in refusal(*runs(f"norm={norm}"))


def with_module(found, kind):
    for run in found:
        run.network.hidden.add_module("own", kind())


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (Branches, "hidden.own (Branches) cannot be stacked: RuntimeError"),
        (Replaces, "hidden.own is not the same in a stack: its buffer"),
    ],
)
def test_modules_that_would_be_others_in_a_stack_are_named(runs, kind, part):
    found, asked = runs()
    with_module(found, kind)
    assert part in refusal(found, asked)


class Masks(nn.Module):
    """Has buffers that say nothing about the rounding of others."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.full((3,), -torch.inf))
        self.register_buffer("large", torch.full((2,), 1e6))
        self.register_buffer("count", torch.tensor([3]))

    def forward(self, inputs):
        return inputs


def test_large_and_infinite_buffers_hide_no_difference(runs):
    found, asked = runs()
    with_module(found, Masks)
    check_equal(Stack([run.task for run in found]), asked)
    with_module(found, Replaces)
    for run in found:
        run.network.hidden.add_module("masks", Masks())
    assert refusal(found, asked) == (
        "hidden.own is not the same in a stack: its buffer hidden.own.average stays as "
        "it is"
    )


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, inputs):
        return inputs


def test_a_parameter_without_a_gradient_is_named(runs):
    found, asked = runs()
    with_module(found, Unused)
    for run in found:
        run.task.trainer.optimizers = [run.task.configure_optimizers()]
    text = refusal(found, asked)
    assert text.startswith("hidden.own.inner.weight has no gradient: a run by itself")


class Counts(nn.Module):
    """Counts its calls outside of its buffers; as a loss, as a layer."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, inputs, targets=None):
        self.calls += 1
        if targets is None:
            return inputs
        return nn.functional.cross_entropy(inputs, targets)


def test_numbers_that_a_step_changes_outside_of_buffers_are_named(runs):
    found, asked = runs()
    with_module(found, Counts)
    assert refusal(found, asked) == (
        "hidden.own.calls changes in a step and is neither a parameter nor a buffer"
    )


class StartsLater(nn.Module):
    """Sets its scale from its first batch, and remembers this in a flag."""

    def __init__(self):
        super().__init__()
        self.is_started = False
        self.register_buffer("scale", torch.ones(()))

    def forward(self, inputs):
        if not self.is_started:
            self.scale.copy_(inputs.detach().std())
            self.is_started = True
        return inputs / self.scale


def test_flags_are_numbers_too_and_stay_as_they_are(runs):
    found, asked = runs()
    with_module(found, StartsLater)
    assert refusal(found, asked).startswith("hidden.own.is_started changes in a step")
    assert not any(run.network.hidden.own.is_started for run in found)


class Rounds(nn.Module):
    """Moves a buffer by no more than rounding."""

    def __init__(self):
        super().__init__()
        self.register_buffer("drift", torch.zeros(6))

    def forward(self, inputs):
        centred = inputs.detach() - inputs.detach().mean(0)
        self.drift.copy_(centred.mean(0))
        return inputs


def test_rounding_is_no_difference(runs):
    found, asked = runs()
    with_module(found, Rounds)
    check_equal(Stack([run.task for run in found]), asked)


def test_a_loss_that_keeps_numbers_is_refused_and_left_as_it_is(runs):
    found, asked = runs()
    for run in found:
        run.task.criterion = Counts()
    assert refusal(found, asked).startswith("calls of task.loss changes in")
    assert [run.task.criterion.calls for run in found] == [0, 0, 0]


def test_numbers_outside_of_parameters_must_be_the_same(runs):
    found, asked = runs()
    with_module(found, Shares)
    found[2].network.hidden.own.scale = 2.0
    assert "is not the same in a stack: its gradient" in refusal(found, asked)


class SharesInEvaluation(Shares):
    def forward(self, inputs):
        return inputs if self.training else super().forward(inputs)


class BranchesInEvaluation(Branches):
    def forward(self, inputs):
        return inputs if self.training else super().forward(inputs)


def test_outputs_in_evaluation_are_compared_with_those_of_the_runs_alone(runs):
    found, asked = runs()
    stack = Stack([run.task for run in found])
    before = stack.network.weights.clone()
    assert score_alike(stack, asked)
    assert torch.equal(stack.network.weights, before)
    with_module(found, SharesInEvaluation)
    assert score_alike(stack, asked)
    found[1].network.hidden.own.scale = 2.0
    for end in (0, 2):  # whose parts are scored alone, so that the others are compared
        found[end].task.scored_parts = {}
    assert not score_alike(stack, asked)
    for run in found:
        run.task.scored_parts = {}
    assert score_alike(stack, asked)


def test_networks_that_vmap_cannot_take_in_evaluation_are_not_scored_alike(runs):
    found, asked = runs()
    with_module(found, BranchesInEvaluation)
    stack = Stack([run.task for run in found])
    check_equal(stack, asked)
    assert not score_alike(stack, asked)
    assert all(run.network.training for run in found)
