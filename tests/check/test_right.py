"""Right layers are not blamed: PyTorch's, those of this project, other styles."""

from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from normlab.check.examination import examine
from normlab.norms.loading import load_norm

RIGHT = Path(__file__).parent / "right"
CONF = Path(__file__).resolve().parents[2] / "conf" / "norm"
STYLES = {
    "functional.py:BatchNorm": "batch norm",
    "inherited.py:MyBatchNorm2d": "batch norm",
    "textbook.py:BatchNorm": "batch norm",
    "by_hand.py:BatchNorm1d": "batch norm",
    "composed.py:BN": "batch norm",
    "cumulative.py:CustomBatchNorm": "batch norm",
    "sums.py:BatchNormalization": "batch norm",
    "factory.py:batch_norm": "batch norm",
    "old_style.py:BatchNorm1d": "batch norm",
    "old_style.py:BatchNorm2d": "batch norm",
    "branches.py:OurBatchNorm": "batch norm",
    "no_volumes.py:BatchNorm": "batch norm",
    "no_volumes.py:Standardize": "batch norm",
    "no_vectors.py:ImageNorm": "instance norm",
    "no_vectors.py:VolumeNorm": "instance norm",
    "others.py:RMSNorm": "root mean square norm",
    "others.py:LayerNorm": "layer norm",
    "others.py:LayerNorm2d": "layer norm",
    "others.py:GroupNorm": "group norm",
    "others.py:InstanceNorm": "instance norm",
    "others.py:standardize": "layer norm",
}
TORCH = [
    (nn.BatchNorm1d, {}, "batch norm"),
    (nn.BatchNorm2d, {}, "batch norm"),
    (nn.BatchNorm3d, {}, "batch norm"),
    (nn.BatchNorm1d, {"affine": False}, "batch norm"),
    (nn.BatchNorm2d, {"track_running_stats": False}, "batch norm"),
    (nn.LayerNorm, {}, "layer norm"),
    (nn.GroupNorm, {"num_groups": 2}, "group norm"),
    (nn.InstanceNorm1d, {}, "instance norm"),
    (nn.InstanceNorm2d, {"affine": True, "track_running_stats": True}, "instance norm"),
    (nn.InstanceNorm3d, {}, "instance norm"),
    (nn.RMSNorm, {}, "root mean square norm"),
    (nn.LocalResponseNorm, {"size": 3}, "a layer of its own kind"),
    (nn.Identity, {}, "a layer of its own kind"),
]
FILES = {
    path.stem: OmegaConf.to_container(OmegaConf.load(path))
    for path in sorted(CONF.glob("*.yaml"))
}
SHIPPED = {name: norm for name, norm in FILES.items() if "_target_" in norm}


def assert_right(examination):
    assert [finding.sentence for finding in examination.findings] == []
    assert examination.points == examination.possible
    assert {outcome.status for outcome in examination.outcomes.values()} == {"right"}


@pytest.mark.parametrize("reference", STYLES)
def test_no_right_layer_of_another_style_is_blamed(reference):
    examination = examine(load_norm(f"{RIGHT}/{reference}"))
    assert_right(examination)
    assert examination.kind == STYLES[reference]


@pytest.mark.parametrize(("target", "options", "kind"), TORCH)
def test_none_of_pytorchs_layers_is_blamed(target, options, kind):
    examination = examine(target, options)
    assert_right(examination)
    assert examination.kind == kind


@pytest.mark.parametrize("name", SHIPPED)
def test_no_norm_of_this_project_is_blamed(name):
    options = {key: value for key, value in SHIPPED[name].items() if key[0] != "_"}
    examination = examine(get_object(SHIPPED[name]["_target_"]), options)
    assert_right(examination)
    assert examination.inputs


def test_inputs_are_those_that_a_layer_takes():
    assert examine(nn.BatchNorm1d).inputs == ["(N, C)", "(N, C, L)"]
    assert examine(nn.LayerNorm).inputs == ["(N, C)", "(N, L, C)"]
    images = examine(load_norm(f"{RIGHT}/no_vectors.py:ImageNorm"))
    assert images.inputs == ["(N, C, H, W)", "(N, C, D, H, W)"]
    textbook = examine(load_norm(f"{RIGHT}/textbook.py:BatchNorm"))
    assert textbook.inputs == ["(N, C)", "(N, C, H, W)"]


def test_an_examination_does_not_depend_on_random_numbers_and_draws_none():
    before = torch.get_rng_state()
    first = examine(nn.BatchNorm1d)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(5)
    assert examine(nn.BatchNorm1d) == first


@pytest.mark.slow
def test_right_layers_can_be_compiled():
    examination = examine(nn.BatchNorm1d, compiled=True)
    assert_right(examination)
    assert examination.outcomes["compile"].status == "right"
