"""The callbacks of normlab that a configuration may name."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from normlab.callbacks import GradientNorm


class Logger:
    def __init__(self):
        self.rows = {}

    def log_metrics(self, metrics, step):
        self.rows[step] = metrics


def recorded(callback, steps):
    """What a logger gets of a network with the gradients 3, 4 and none."""
    network = nn.ParameterDict({name: torch.zeros(1) for name in ("a", "b", "frozen")})
    network["a"].grad, network["b"].grad = torch.tensor([3.0]), torch.tensor([-4.0])
    logger = Logger()
    task = SimpleNamespace(network=network)
    for step in steps:
        trainer = SimpleNamespace(global_step=step, loggers=[logger])
        callback.on_before_optimizer_step(trainer, task, None)
    return logger.rows


def test_the_norm_of_the_gradient_is_recorded_every_so_many_steps():
    rows = recorded(GradientNorm(every_n_steps=2), range(5))
    assert rows == {step: {"gradient_norm": 5.0} for step in (0, 2, 4)}


@pytest.mark.parametrize(("p", "total"), [(1.0, 7.0), (float("inf"), 4.0)])
def test_parameters_are_recorded_one_by_one_on_request(p, total):
    rows = recorded(GradientNorm(norm_type=p, by_parameter=True), [0])
    expected = {"gradient_norm": total, "gradient_norm/a": 3.0, "gradient_norm/b": 4.0}
    assert rows == {0: pytest.approx(expected)}
