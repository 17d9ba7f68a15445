"""At the end of a run its stored state must give the outputs of the network."""

import pytest
from omegaconf import OmegaConf
from torch import nn

from normlab.training import own_norm_checks
from normlab.training.checkpoint_files import save
from normlab.training.experiment import run
from normlab.training.preparation import prepare
from normlab.training.stored_state import check_stored_state


@pytest.fixture
def config(compose, tmp_path):
    composed = compose(f"paths.outputs={tmp_path}", "trainer.max_epochs=1")
    return OmegaConf.to_container(composed, resolve=True) | {"progress": False}


def test_the_same_state_agrees_and_another_does_not(config, tmp_path):
    prepared = prepare(config)
    network = prepared.task.network
    path = tmp_path / "best.ckpt"
    save(path, {"network": network.state_dict()})
    check_stored_state(config, prepared, path)
    bias = next(one for one in network.modules() if isinstance(one, nn.Linear)).bias
    bias.data += 1
    with pytest.raises(RuntimeError, match=r"best\.ckpt does not hold"):
        check_stored_state(config, prepared, path)


def test_a_run_whose_state_is_not_stored_has_failed(config, tmp_path, monkeypatch):
    """State that no check before training finds: a variable of the module."""
    source = """
import torch
from torch import nn

MEANS = []

class Norm(nn.Module):
    def forward(self, x):
        if self.training:
            MEANS.append(x.mean())
            return x - MEANS[-1]
        return x - MEANS[-1] * self.factor

    def __init__(self, num_features):
        super().__init__()
        self.factor = len(MEANS)
"""
    from normlab.norms.own import offer_file

    (tmp_path / "mine.py").write_text(source)
    norm = offer_file(f"{tmp_path / 'mine.py'}:Norm")
    monkeypatch.setattr(own_norm_checks, "check_own_norm", lambda *arguments: [])
    monkeypatch.setattr(
        "normlab.training.preparation.check_own_norm", lambda *arguments: []
    )
    choices = config["choices"] | {"norm": norm.name}
    result = run(config | {"norm": norm.options(), "choices": choices})
    assert result["status"] == "failed"
    assert "which best.ckpt does not hold" in result["reason"]
