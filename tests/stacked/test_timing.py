import torch

from normlab.stacked import timing
from normlab.stacked.stack import Stack
from normlab.stacked.timing import Times, measure


def test_fewer_runs_than_a_stack_is_faster_for_are_trained_one_by_one():
    times = {16: 0.5, 8: 1.0, 4: 2.0, 2: 2.5}
    assert Times(alone=2.0, stacked=times).fewest == 5  # of 5 to 7, nothing is known
    assert Times(alone=2.6, stacked=times).fewest == 2
    assert Times(alone=1.0, stacked={9: 1.5, 4: 0.5, 2: 0.7}).fewest == 2


def test_the_fastest_number_of_runs_is_the_best():
    times = Times(alone=1.0, stacked={8: 0.5, 4: 0.25, 2: 0.8})
    assert times.best == 4
    assert times.gain == 4.0


def test_times_are_measured_for_halves_of_the_stack(runs, monkeypatch):
    found, asked = runs()
    stack = Stack([run.task for run in found])
    before = stack.network.weights.clone()
    calls = []

    def seconds(step):
        step()
        calls.append(step)
        return float(len(calls))

    monkeypatch.setattr(timing, "_seconds", seconds)
    times = measure(stack, asked, most=3)
    assert times == Times(alone=2.0, stacked={3: 1 / 3})
    assert torch.equal(stack.network.weights, before)
