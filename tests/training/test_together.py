from types import SimpleNamespace

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.training.classification import Classification
from normlab.training.together import Answer, Apart


class Stack:
    """Answers requests with losses and predictions of its own, or with nothing."""

    members = 2

    def __init__(self, answer):
        self.answer = answer
        self.apart = Apart()
        self.requests = []

    def train(self, request):
        self.requests.append(request)
        return self.answer


def task_with(stack):
    torch.manual_seed(0)
    task = Classification(nn.Linear(2, 2), lambda network: None)
    optimizer = torch.optim.SGD(task.network.parameters(), lr=0.1)
    task._trainer = SimpleNamespace(optimizers=[optimizer], world_size=1)
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
