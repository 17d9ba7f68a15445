"""Every norm of conf/norm in every model: a batch trains, or the pair is refused."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from normlab.norms import FilterResponseNorm
from normlab.training.build import build_network
from normlab.training.cautions import refuse_hidden_norms

CONF = Path(__file__).resolve().parents[2] / "conf"
NORMS = sorted(path.stem for path in (CONF / "norm").glob("*.yaml"))
# Small enough for a test; image side of those that take images.
MODELS = {
    "mlp": ({"hidden": [16]}, 8),
    "lenet5": ({}, 28),
    "vgg": ({"width": 8}, 32),
    "resnet": ({"depth": 8}, 16),
    "vit": ({"dim": 16, "depth": 1}, 16),
    "recurrent": ({"hidden": 16}, 8),
    "tabular": ({"hidden": [16]}, None),
}
ACTIVATING = {"evonorm_b0", "evonorm_s0", "filter_response"}
REFUSED = {("recurrent", norm) for norm in ACTIVATING}


@cache
def settings(choice):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[choice], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    part = OmegaConf.masked_copy(
        config, ["model", "norm", "reparametrize", "seed", "device"]
    )
    return OmegaConf.to_container(part, resolve=True)


def build(model, norm):
    light, side = MODELS[model]
    shape = (14,) if side is None else (1, side, side)
    config = settings(f"norm={norm}") | {
        "model": settings(f"model={model}")["model"] | light
    }
    return build_network(config, shape, 3)[0], shape


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", MODELS)
def test_a_batch_trains_or_the_pair_is_refused(model, norm):
    if (model, norm) in REFUSED:
        with pytest.raises(InstantiationException) as error:
            build(model, norm)
        assert (
            "contains its activation, which does not fit the gates of an LSTM"
            in str(error.value.__cause__)
        )
        return
    network, shape = build(model, norm)
    torch.manual_seed(0)
    output = network(torch.randn(6, *shape))
    assert output.shape == (6, 3)
    assert output.isfinite().all()
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert not parameter.requires_grad or parameter.grad.isfinite().all(), name
    assert network.eval()(torch.randn(1, *shape)).isfinite().all()


def test_filter_response_norm_keeps_values_on_maps_of_one_pixel():
    config = settings("norm=filter_response") | {
        "model": settings("model=resnet")["model"] | {"depth": 18}
    }
    network, _ = build_network(config, (3, 32, 32), 3)
    torch.manual_seed(0)
    norms = [
        layer for layer in network.modules() if isinstance(layer, FilterResponseNorm)
    ]
    seen = []
    norms[-1].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    assert network(torch.randn(4, 3, 32, 32)).isfinite().all()
    assert seen[0].shape[2:] == (1, 1)
    assert seen[0][seen[0] > 0].std() > 0.1  # over one position all of them would be 1


@pytest.mark.parametrize("model", MODELS)
def test_norm_none_leaves_no_norm_in_any_model(model):
    refuse_hidden_norms("none", build(model, "none")[0])
    with pytest.raises(ValueError, match="it has BatchNorm at"):
        refuse_hidden_norms("none", build(model, "custom")[0])
