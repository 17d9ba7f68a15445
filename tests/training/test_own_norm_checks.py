"""A norm of the user's own is checked before it trains."""

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.norms.own import offer_file
from normlab.own_norms import add_option
from normlab.training.experiment import run
from normlab.training.own_norm_checks import is_own_norm
from normlab.training.preparation import prepare

RIGHT = """
import torch
from torch import nn

class Norm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.steps = 0

    def forward(self, x):
        mean = self.running_mean
        if self.training:
            mean = x.mean(0)
            self.update(mean.detach())
        return self.gamma * (x - mean)

    def update(self, mean):
        step = self.momentum * (mean - self.running_mean)
        self.running_mean = self.running_mean + step
"""

IN_PLACE = "self.running_mean += step"

FAULTS = {
    "plain attribute": (
        'self.register_buffer("running_mean", torch.zeros(num_features))',
        "self.running_mean = torch.zeros(num_features)",
        r"Norm keeps running_mean outside of buffers \(mine\.py, line 11\).* "
        r"self\.register_buffer\('running_mean', \.\.\.\)",
    ),
    "graph": (
        "self.update(mean.detach())",
        "self.update(mean)",
        r"keeps the graph of past steps in running_mean \(mine\.py, line 23\)",
    ),
    "shape": (
        "return self.gamma * (x - mean)",
        "return (self.gamma * (x - mean)).double()",
        r"Norm must return a tensor of the shape and type of its input, "
        r"\(8, \d+\) float32, got \(8, \d+\) float64 \(mine\.py, line 14\)",
    ),
    "evaluation": (
        "        if self.training:\n            mean = x.mean(0)",
        "        if True:\n            mean = x.mean(0)",
        r"Norm changes running_mean in evaluation \(mine\.py, line 23\)",
    ),
    "misspelt": (
        "mean = x.mean(0)",
        "mean = x.maen(0)",
        r"a training step with Norm fails on 8 rows of the data \(mine\.py, line 17\): "
        r"AttributeError: 'Tensor' object has no attribute 'maen'",
    ),
    "no copy": (
        "self.steps = 0",
        "self.steps = (one for one in ())",
        r"Norm must be something that copy\.deepcopy can copy, it fails: ",
    ),
}


@pytest.fixture
def config(compose, tmp_path, monkeypatch):
    """config(source, *overrides): of a run whose norm is the class in the source."""
    monkeypatch.setenv(OWN_NORMS_VARIABLE, "")

    def make(source, *overrides):
        path = tmp_path / "mine.py"
        path.write_text(source)
        name = add_option(offer_file(f"{path}:Norm"))
        composed = compose(
            f"norm={name}", f"paths.outputs={tmp_path / 'outputs'}", *overrides
        )
        return OmegaConf.to_container(composed, resolve=True)

    return make


def test_a_right_norm_passes_and_its_run_is_named_after_it(config):
    composed = config(RIGHT, "+norm.momentum=0.5", "trainer.max_epochs=1")
    prepared = prepare(composed)
    assert is_own_norm(composed)
    assert prepared.cautions == []
    layer = next(iter(prepared.norm_layers.values()))
    assert layer.momentum == 0.5
    result = run(composed | {"progress": False})
    assert result["status"] == "finished"
    assert result["run"].startswith("digits-mlp/mine.Norm-sgd-lr0.1-seed0-")


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_make_the_score_wrong_is_refused(config, tmp_path, fault):
    old, new, message = FAULTS[fault]
    assert old in RIGHT
    with pytest.raises(ValueError, match=message):
        run(config(RIGHT.replace(old, new)))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "update", ["self.running_mean = self.running_mean + step", IN_PLACE]
)
def test_a_right_norm_trains_in_an_lstm(config, update):
    """The norm has 4 copies of its buffers, and is checked on 8 samples."""
    source = RIGHT.replace("self.running_mean = self.running_mean + step", update)
    light = ("model=recurrent", "model.pool=2", "model.hidden=4")
    composed = config(source, *light, "trainer.max_epochs=1", "progress=false")
    assert run(composed)["status"] == "finished"


def test_a_wrong_norm_is_refused_in_an_lstm(config):
    source = RIGHT.replace("if self.training:", "if True:")
    with pytest.raises(ValueError, match="Norm changes running_mean in evaluation"):
        prepare(config(source, "model=recurrent", "model.pool=2", "model.hidden=4"))


def test_a_norm_may_look_at_values(config):
    source = RIGHT.replace(
        "mean = x.mean(0)", "mean = x.mean(0) if float(x.var()) > -1 else x[0]"
    )
    composed = config(source, "trainer.max_epochs=1", "progress=false")
    assert run(composed)["status"] == "finished"


def test_a_counter_outside_of_buffers_is_a_caution(config):
    source = RIGHT.replace(
        "mean = x.mean(0)", "mean = x.mean(0)\n            self.steps += 1"
    )
    cautions = prepare(config(source)).cautions
    assert cautions == [
        "Norm changes steps outside of buffers: a resumed run starts them anew"
    ]


def test_noise_in_evaluation_is_a_caution(config):
    source = RIGHT.replace(
        "return self.gamma * (x - mean)",
        "return self.gamma * (x - mean) + torch.randn_like(x)",
    )
    (caution,) = prepare(config(source)).cautions
    assert caution.startswith("Norm gives other outputs for the same input")


def test_options_that_the_norm_does_not_have_are_refused(config):
    with pytest.raises(InstantiationException, match=r"Norm has no option .momentun."):
        prepare(config(RIGHT, "+norm.momentun=0.5"))


def test_shipped_norms_are_not_own(compose):
    assert not is_own_norm(OmegaConf.to_container(compose("norm=torch"), resolve=True))
