"""What the norm layers hold, against numbers worked out by hand."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.blocks import Block
from normlab.evaluation.inspection import (
    LayerState,
    average_by_step,
    batch_moments,
    describe_layers,
    draw_layers,
    inspect_run,
    layers_table,
)
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def test_batch_moments_average_batches_and_leave_no_trace():
    norm = nn.BatchNorm1d(1)
    batches = [
        Block(torch.tensor([[0.0], [2.0]]), None, 2),
        Block(torch.tensor([[3.0], [7.0]]), None, 2),
    ]
    mean, var = batch_moments(nn.Sequential(norm), {"norm": norm}, batches)["norm"]
    assert mean.tolist() == [[3.0]]  # of 1 and 5
    assert var.tolist() == [[2.5]]  # of 1 and 4
    assert (norm.running_mean.item(), norm.num_batches_tracked.item()) == (0.0, 0)


def test_time_steps_are_compared_step_by_step(compose, tmp_path):
    words = [
        "model=recurrent",
        "model.hidden=4",
        "model.max_steps=3",
        "trainer.max_epochs=1",
        "progress=false",
    ]
    config = OmegaConf.to_container(
        compose(*words, f"paths.outputs={tmp_path}"), resolve=True
    )
    run(config)
    inputs, _, cells = inspect_run(run_folder(config), num_batches=3)
    assert (
        inputs.running_mean.shape == inputs.batch_mean.shape == (3, 16)
    )  # steps 3 to 8 share the last
    assert inputs.scale.shape == (16,)
    assert 0 < cells.mean_drift < 5
    network = torch.load(
        run_folder(config) / "checkpoints" / "best.ckpt", weights_only=True
    )["network"]
    assert (
        inputs.running_mean.tolist() == network[f"{inputs.name}.running_mean"].tolist()
    )
    assert draw_layers([inputs], "title").axes[1].lines[0].get_ydata().shape == (16,)


def test_calls_beyond_the_last_step_count_for_the_last():
    calls = torch.tensor([[1.0], [2.0], [4.0], [6.0]])
    assert average_by_step(calls, 3).tolist() == [[1.0], [2.0], [5.0]]
    assert average_by_step(calls, 1).tolist() == [[3.25]]
    assert average_by_step(calls, 0).tolist() == [3.25]


def test_drift_is_measured_in_running_standard_deviations():
    state = LayerState(
        "norm",
        "BatchNorm",
        None,
        None,
        np.array([0.0, 1.0]),
        np.array([4.0, 1.0]),
        np.array([2.0, 1.0]),
        np.array([4.0, np.e]),
    )
    assert state.mean_drift == pytest.approx(0.5**0.5)  # 1 and 0
    assert state.var_drift == pytest.approx(0.5)  # 0 and 1
    black = LayerState(
        "norm",
        "BatchNorm",
        None,
        None,
        *map(np.array, ([0.01], [0.0], [0.0], [0.0])),
        eps=0.0001,
    )
    assert (black.mean_drift, black.var_drift) == (pytest.approx(1.0), 0.0)


class OwnNorm(torch.nn.Module):
    """A norm with the names and shapes of a book."""

    def __init__(self):
        super().__init__()
        shape = (1, 2, 1, 1)
        self.gamma = torch.nn.Parameter(torch.tensor([2.0, 3.0]).reshape(shape))
        self.beta = torch.nn.Parameter(torch.tensor([4.0, 5.0]).reshape(shape))
        self.register_buffer("moving_mean", torch.tensor([6.0, 7.0]).reshape(shape))
        self.register_buffer("moving_var", torch.tensor([8.0, 9.0]).reshape(shape))

    def forward(self, x):
        return x


class Around(torch.nn.Module):
    """The same inside of another layer."""

    def __init__(self):
        super().__init__()
        self.inner = OwnNorm()

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("kind", [OwnNorm, Around])
def test_a_norm_of_the_user_may_have_other_names_and_shapes(kind):
    norm = kind()
    x = torch.tensor([[1.0, 2.0], [3.0, 2.0]]).reshape(2, 2, 1, 1)
    blocks = [Block(x, torch.zeros(2), 2)]
    (state,) = describe_layers(torch.nn.Sequential(norm), {"0": norm}, blocks)
    assert (state.scale.tolist(), state.shift.tolist()) == ([2.0, 3.0], [4.0, 5.0])
    assert state.running_mean.tolist() == [6.0, 7.0]
    assert state.running_var.tolist() == [8.0, 9.0]
    assert (state.batch_mean.tolist(), state.batch_var.tolist()) == ([2, 2], [1, 0])
    assert state.mean_drift == pytest.approx(((16 / 8 + 25 / 9) / 2) ** 0.5)


def test_a_run_is_inspected(compose, tmp_path):
    words = ["trainer.max_epochs=1", "progress=false", f"paths.outputs={tmp_path}"]
    for norm in ("custom", "layer", "none"):
        run(OmegaConf.to_container(compose(*words, f"norm={norm}"), resolve=True))
    folders = {
        norm: run_folder(
            OmegaConf.to_container(compose(*words, f"norm={norm}"), resolve=True)
        )
        for norm in ("custom", "layer", "none")
    }
    states = inspect_run(folders["custom"], num_batches=5)
    assert [(state.kind, len(state.scale)) for state in states] == [
        ("BatchNorm", 128),
        ("BatchNorm", 64),
    ]
    stored = torch.load(
        folders["custom"] / "checkpoints" / "best.ckpt", weights_only=True
    )["network"]
    assert (
        states[0].running_mean.tolist()
        == stored[f"{states[0].name}.running_mean"].tolist()
    )
    assert 0 < states[0].mean_drift < 1
    assert layers_table(states).row_count == 2
    panels = draw_layers(states, "title").axes
    assert len(panels) == 6
    assert panels[1].get_title() == f"mean, drift {states[0].mean_drift:.3f}"
    assert sorted(panels[2].lines[0].get_ydata()) == sorted(
        states[0].running_var.tolist()
    )
    layer = inspect_run(folders["layer"], num_batches=2)[0]
    assert layer.running_mean is None
    assert np.isnan(layer.mean_drift)
    with pytest.raises(
        ValueError, match=r"has no norm layers \(norm=none\); name a run that has some"
    ):
        inspect_run(folders["none"])


def test_inspection_needs_at_least_one_batch(tmp_path):
    with pytest.raises(ValueError, match="num_batches must be at least 1, got 0"):
        inspect_run(tmp_path, num_batches=0)
