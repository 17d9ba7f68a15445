"""Runs whose optimizer steps tests make, alone and in a stack."""

from functools import partial
from types import SimpleNamespace

import torch
from omegaconf import OmegaConf
from torch._dynamo.testing import CompileCounterWithBackend

from normlab.data.blocks import EvaluationBlocks, TrainBlocks
from normlab.stacked import compilation
from normlab.stacked.stack import Stack
from normlab.training.preparation import prepare
from normlab.training.together import Request

SMALL = (
    *("device=cpu", "progress=false", "logger=[]", "scores.mistakes=0"),
    *("model.hidden=[6]", "dataset.batch_size=8", "trainer.max_samples=36"),
)


class Trained:
    """A task with its optimizer, and the blocks of its first epoch."""

    def __init__(self, config, dtype=torch.float32):
        prepared = prepare(config)
        self.task = prepared.task
        self.task.network.to(dtype)
        trainer = SimpleNamespace(world_size=1, callbacks=[])
        self.task._trainer = trainer
        trainer.optimizers = [self.task.configure_optimizers()]
        validation = EvaluationBlocks(prepared.parts.validation)
        self.task.scored_parts = {"val": validation}
        size = config["dataset"]["batch_size"]
        blocks = TrainBlocks(
            prepared.parts.train, size, config["seed"], self.task.progress
        )
        self.blocks = [
            block._replace(
                inputs=block.inputs.to(dtype), targets=_typed(block.targets, dtype)
            )
            for block in blocks
        ]

    @property
    def network(self):
        return self.task.network

    def train_alone(self, epochs=1):
        for _ in range(epochs):
            for block in self.blocks:
                self.task.training_step(block, 0)


def _typed(targets, dtype):
    return targets.to(dtype) if targets.is_floating_point() else targets


def train_stacked(runs, epochs=1):
    """Train runs as one stack, and return it."""
    stack = Stack([run.task for run in runs])
    for _ in range(epochs):
        for blocks in zip(*(run.blocks for run in runs), strict=True):
            stack.train(requests(runs, blocks))
    return stack


def requests(runs, blocks):
    pairs = zip(runs, blocks, strict=True)
    return [Request(run.task, block, 0) for run, block in pairs]


def plain(config):
    return OmegaConf.to_container(config, resolve=True)


def compile_eagerly(monkeypatch):
    """Let `torch.compile` trace a network and leave out what takes half a minute.

    What is returned counts the graphs in `frame_count`.
    """
    counter = CompileCounterWithBackend("aot_eager")
    traced = partial(torch.compile, backend=counter)
    monkeypatch.setattr(torch, "compile", traced)
    # What is not compiled to kernels need not be faster.
    monkeypatch.setattr(compilation, "step_seconds", lambda stack, batch: 1.0)
    return counter


def largest_difference(first, second):
    """Of the states of two networks, relative to the largest number of each tensor."""
    largest = 0.0
    others = second.state_dict()
    for name, value in first.state_dict().items():
        scale = float(others[name].abs().max()) or 1.0
        largest = max(largest, float((value - others[name]).abs().max()) / scale)
    return largest
