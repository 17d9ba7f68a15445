"""A small task and the state that a checkpoint holds of it."""

import copy
from dataclasses import asdict
from functools import partial

import torch
from torch import nn

from normlab.data.blocks import Progress
from normlab.training.checkpoints import random_state
from normlab.training.classification import Classification


def make_task(build_scheduler=None):
    """Three inputs and two classes, trained by SGD with momentum."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    def build_optimizer(network):
        return torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    return Classification(network, build_optimizer, build_scheduler)


def stepwise():
    """A builder of a scheduler that divides the rate by ten every other epoch."""
    return partial(torch.optim.lr_scheduler.StepLR, step_size=2)


def stored_state(task, epoch=3):
    """The state of a task after some epochs in the run `some-run`."""
    optimizer = task.build_optimizer(task.network)
    scheduler = None
    if task.build_scheduler is not None:
        scheduler = task.build_scheduler(optimizer).state_dict()
    task.network(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    metrics = {"val/loss": 0.5, "val/accuracy": 0.75}
    network = copy.deepcopy(task.network.state_dict())
    best_network = copy.deepcopy(network)
    return {
        "run": "some-run",
        "ended": False,
        "progress": asdict(Progress(epoch, 0, 10 * epoch, 1.5)),
        "network": network,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler,
        "random": random_state(torch.device("cpu")),
        "train_sums": torch.ones(1, 3),
        "metrics": metrics,
        "best": {
            "epoch": 2,
            "value": 0.75,
            "metrics": dict(metrics),
            "network": best_network,
        },
        "logs": {"metrics.csv": 120},
        "log_digests": {"metrics.csv": "0" * 64},
        "unfinished_block": {"losses": torch.ones(2), "predictions": torch.ones(8, 2)},
    }
