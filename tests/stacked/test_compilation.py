from functools import partial

import pytest
import torch
from torch import nn

from normlab.stacked import compilation
from normlab.stacked.compilation import NotCompiled, compiled_forward
from normlab.stacked.stack import Batch, Stack
from stacked.runs import compile_eagerly


@pytest.fixture
def counter(monkeypatch):
    return compile_eagerly(monkeypatch)


@pytest.fixture
def build(runs):
    """build(*words): four runs of a small network, and their first requests."""
    return partial(runs, count=4)


def stack_of(runs, compiled=None):
    return Stack([run.task for run in runs], compiled=compiled)


CLASSES = torch.arange(8).repeat(4, 1)


def gradients(stack, batch):
    loss = stack.tasks[0].loss_of
    return stack.network.gradients(loss, batch.inputs, batch.learned)


@pytest.mark.parametrize("norm", ["none", "custom", "layer"])
def test_one_graph_serves_every_number_of_runs_and_of_samples(build, counter, norm):
    runs, asked = build(f"norm={norm}")
    before = [value.clone() for value in stack_of(runs).network.buffers.values()]
    forward = compiled_forward(stack_of(runs), asked, most=4)
    after = stack_of(runs).network.buffers.values()
    assert all(map(torch.equal, before, after))

    torch.manual_seed(0)
    sample = runs[0].blocks[0].inputs.shape[1:]
    for count, size in ((4, 8), (2, 8), (3, 5), (2, 2), (4, 6)):
        inputs = torch.rand(count, size, *sample)
        batch = Batch(inputs, torch.randint(10, (count, size)))
        chosen = torch.arange(count)
        eager = stack_of(runs).take(chosen)
        wanted = gradients(eager, batch)
        part = stack_of(runs, forward).take(chosen)
        for one, two in zip(gradients(part, batch), wanted, strict=True):
            torch.testing.assert_close(one, two)
        torch.testing.assert_close(part.network.buffers, eager.network.buffers)
    assert counter.frame_count == 1


def test_random_numbers_are_not_compiled(build, counter):
    runs, asked = build("model.dropout=0.5")
    with pytest.raises(NotCompiled, match="would draw other random numbers"):
        compiled_forward(stack_of(runs), asked, most=4)
    assert counter.frame_count == 0


def test_a_single_run_is_not_compiled_for_itself(build, counter):
    runs, asked = build()
    forward = compiled_forward(stack_of(runs), asked, most=4)
    part = stack_of(runs, forward).take(torch.tensor([2]))
    inputs = runs[2].blocks[0].inputs[None, :8]
    batch = Batch(inputs, torch.arange(8)[None])
    wanted = gradients(stack_of(runs).take(torch.tensor([2])), batch)
    assert all(map(torch.equal, gradients(part, batch), wanted))
    assert counter.frame_count == 1


class Prints(nn.Module):
    """Does what is not part of a graph."""

    def __init__(self):
        super().__init__()
        self.silent = False
        self.register_buffer("mask", torch.ones(6, dtype=torch.bool))

    def forward(self, inputs):
        if not self.silent:
            print("called")
        return inputs * self.mask


def with_module(runs, silent):
    for run in runs:
        run.network.hidden.add_module("own", Prints())
        run.network.hidden.own.silent = silent


def test_nothing_is_compiled_after_the_first_call(build, counter, capsys):
    runs, asked = build()
    with_module(runs, silent=True)
    forward = compiled_forward(stack_of(runs), asked, most=4)
    batch = Batch(torch.rand(4, 8, *runs[0].blocks[0].inputs.shape[1:]), CLASSES)
    wanted = gradients(stack_of(runs), batch)
    template = forward._compiled.__wrapped__.__self__.template
    template.hidden.own.silent = False
    capsys.readouterr()
    found = gradients(stack_of(runs, forward), batch)
    assert capsys.readouterr().out == "called\n"
    assert all(map(torch.equal, found, wanted))
    assert counter.frame_count == 1


def test_a_graph_for_one_number_of_runs_is_refused(build, counter, monkeypatch):
    mark = torch._dynamo.maybe_mark_dynamic
    monkeypatch.setattr(
        torch._dynamo,
        "maybe_mark_dynamic",
        lambda tensor, dim: mark(tensor, dim) if dim else None,
    )
    runs, asked = build()
    with pytest.raises(NotCompiled, match="fits one number of runs only"):
        compiled_forward(stack_of(runs), asked, most=4)
    assert counter.frame_count == 1


def test_what_the_compiler_cannot_take_is_said(build, counter):
    runs, asked = build()
    with_module(runs, silent=False)
    with pytest.raises(NotCompiled, match=r"torch\.compile failed: Unsupported"):
        compiled_forward(stack_of(runs), asked, most=4)


def test_other_gradients_are_refused(build, monkeypatch):
    def compile_wrongly(function, fullgraph):
        def wrong(*arguments):
            return function(*arguments) * 1.01

        return wrong

    monkeypatch.setattr(torch, "compile", compile_wrongly)
    runs, asked = build("norm=none")
    with pytest.raises(NotCompiled, match="changes the gradients of a step"):
        compiled_forward(stack_of(runs), asked, most=4)


def test_slower_steps_are_not_compiled(build, monkeypatch):
    seconds = iter([0.9, 1.0])  # of a step as it is, and compiled
    compile_eagerly(monkeypatch)
    monkeypatch.setattr(compilation, "step_seconds", lambda stack, batch: next(seconds))
    runs, asked = build()
    with pytest.raises(NotCompiled, match=r"is only 0\.90 times as fast"):
        compiled_forward(stack_of(runs), asked, most=4)
