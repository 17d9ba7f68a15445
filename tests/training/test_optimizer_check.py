"""Optimizers that could not train are refused before anything is written."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.training.experiment import run
from normlab.training.optimizer_check import check_optimizer


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["optimizer._target_=torch.optim.NAdam"],
            "optimizer has 'momentum', 'nesterov', 'fused', which torch.optim.NAdam "
            "does not take; remove them with ~optimizer.momentum ~optimizer.nesterov "
            "~optimizer.fused",
        ),
        (["optimizer=adam", "optimizer.betas=[1.5,0.9]"], "Invalid beta parameter"),
        (["optimizer.nesterov=true", "optimizer.momentum=0"], "requires a momentum"),
        (["optimizer=timm", "optimizer.name=adahessian"], "adahessian"),
        (["optimizer=timm", "optimizer.name=none"], "got 'none'"),
        (["optimizer=muon", "model.hidden=[]"], "the network has none to train"),
        (
            ["optimizer=muon", "optimizer.lr=0.1", "optimizer.ns_steps=100"],
            "Number of steps must be less than 100",
        ),
    ],
)
def test_nothing_is_written_for_what_is_refused(compose, tmp_path, words, message):
    overrides = [*words, "progress=false", f"paths.outputs={tmp_path}"]
    config = OmegaConf.to_container(compose(*overrides), resolve=True)
    with pytest.raises(ValueError) as error:
        run(config)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def options(name, **others):
    return {
        "_target_": f"torch.optim.{name}",
        "_partial_": True,
        "weight_decay": 0.0,
        "decay_rank_one": False,
        **others,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LBFGS", "closure"),
        ("SparseAdam", "SparseAdam does not support dense gradients"),
        ("Muon", "Muon only supports 2D parameters"),
    ],
)
def test_optimizers_that_need_other_steps_are_refused(name, message):
    with pytest.raises(ValueError, match=f"torch.optim.{name} must make.*{message}"):
        check_optimizer(options(name), nn.Linear(2, 3), "cpu")


@pytest.mark.parametrize("name", ["RAdam", "Adamax", "Adadelta", "ASGD", "Rprop"])
def test_other_optimizers_of_pytorch_are_fine(name):
    network = nn.Linear(2, 3)
    before = network.weight.detach().clone()
    state = torch.get_rng_state()
    check_optimizer(options(name), network, "cpu")
    assert torch.equal(network.weight, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_weight_decay_must_be_known_to_the_optimizer():
    with pytest.raises(ValueError, match="weight_decay must be 0 for torch.optim.Rp"):
        check_optimizer(options("Rprop", weight_decay=0.1), nn.Linear(2, 3), "cpu")


def test_what_only_a_gpu_can_do_is_refused_on_the_cpu_alone():
    settings = options("Adam", capturable=True)
    with pytest.raises(ValueError, match="capturable"):
        check_optimizer(settings, nn.Linear(2, 3), "cpu")
    check_optimizer(settings, nn.Linear(2, 3), "cuda")


def test_sharded_parameters_are_refused_where_pytorch_cannot_take_them():
    settings, network = options("Adafactor"), nn.Linear(2, 3)
    with pytest.raises(ValueError, match="take another one or device=ddp"):
        check_optimizer(settings, network, "cpu", "fsdp")
    check_optimizer(settings, network, "cpu", "ddp")
