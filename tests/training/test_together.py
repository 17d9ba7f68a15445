import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.training.classification import Classification
from normlab.training.together import Answer, Predicted, Spent, spent


class Stack:
    """Answers requests with losses and predictions of its own, or with nothing."""

    members = 2

    def __init__(self, answer):
        self.answer = answer
        self.apart = Spent()
        self.requests = []

    def train(self, request):
        self.requests.append(request)
        return self.answer

    def share(self, share):
        self.apart.add(share, times=-1)


def task_with(stack):
    torch.manual_seed(0)
    task = Classification(nn.Linear(2, 2), lambda network: None)
    optimizer = torch.optim.SGD(task.network.parameters(), lr=0.1)
    task._trainer = SimpleNamespace(
        optimizers=[optimizer], world_size=1, is_last_batch=False
    )
    task.publishes = False
    task.stack = stack
    return task


BLOCK = Block(torch.ones(4, 2), torch.tensor([0, 1, 1, 1]), 2)


def test_a_stack_makes_the_steps_of_its_runs():
    predictions = torch.tensor([[2.0, 1.0], [0.0, 3.0], [4.0, 1.0], [5.0, 0.0]])
    stack = Stack(Answer(torch.tensor([0.5, 1.5]), predictions))
    task = task_with(stack)
    before = task.network.weight.clone()
    task.training_step(BLOCK, 0)
    (request,) = stack.requests
    assert request.block is BLOCK
    assert (request.task, request.done) == (task, 0)
    assert torch.equal(task.network.weight, before)
    assert task.progress.steps == 2
    count, loss, correct = task.train_sums.tolist()
    assert (count, loss, correct) == (4.0, 4.0, 2.0)


def test_a_run_without_an_answer_makes_its_steps_itself():
    task = task_with(Stack(None))
    alone = task_with(None)
    task.training_step(BLOCK, 0)
    alone.training_step(BLOCK, 0)
    assert torch.equal(task.network.weight, alone.network.weight)
    assert torch.equal(task.train_sums, alone.train_sums)


def test_the_clock_of_a_run_stands_still_while_it_waits():
    stack = Stack(None)
    task = task_with(stack)
    before = task.clock()
    stack.apart.seconds = 1000.0
    assert task.clock() - before == pytest.approx(-1000.0, abs=100.0)


def test_parts_are_scored_by_what_the_stack_has_computed_of_them():
    outputs = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    predicted = Predicted(outputs, torch.tensor([1, 1]), Spent(100.0, 7.0))
    losses = torch.tensor([0.5, 1.5])
    stack = Stack(Answer(losses, torch.zeros(4, 2), predicted={"val": predicted}))
    task = task_with(stack)
    task.scored_parts = {"val": [BLOCK], "test": [BLOCK]}
    task.training_step(BLOCK, 0)
    assert stack.requests[0].scored == {}
    task.trainer.is_last_batch = True
    task.training_step(BLOCK, 1)
    assert stack.requests[1].scored == task.scored_parts

    task.close_epoch([BLOCK])
    assert task.metrics["val/accuracy"] == 0.5
    assert task.metrics["val/loss"] == pytest.approx(4.5, abs=1e-3)
    assert task.scoring_seconds == pytest.approx(100.0, abs=10.0)
    assert stack.apart.processor_seconds == -7.0

    task.train_sums = torch.tensor([4.0, 4.0, 2.0])
    task.close_epoch([BLOCK])  # of weights that the stack has not moved
    assert task.metrics["val/loss"] < 2


def test_a_measured_time_is_divided_among_those_who_share_it():
    with spent(4) as share:
        time.sleep(0.2)
    assert share.seconds == pytest.approx(0.05, abs=0.03)
    assert share.processor_seconds < 0.05
