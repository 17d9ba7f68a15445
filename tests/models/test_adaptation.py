from functools import partial

import pytest
import torch
from timm.layers.grn import GlobalResponseNorm as TimmsResponseNorm
from torch import nn
from torchvision import models

from models.helpers import num_parameters
from normlab.models.adaptation import (
    adapt_input,
    copied_with,
    last_weights,
    load_file,
    start_scales_at_one,
)
from normlab.norms import GlobalResponseNorm

OurResponseNorm = partial(GlobalResponseNorm, dim=2)


def test_a_copied_layer_has_the_same_settings():
    conv = nn.Conv2d(3, 8, (3, 5), stride=2, padding=1, bias=False)
    new = copied_with(conv, channels=1)
    assert (new.in_channels, new.out_channels) == (1, 8)
    assert (new.kernel_size, new.stride, new.bias) == ((3, 5), (2, 2), None)
    assert copied_with(nn.Linear(4, 10), num_outputs=3).weight.shape == (3, 4)


def test_last_weights_is_the_output_layer():
    with torch.device("meta"):
        assert last_weights(models.vgg11())[0] == "classifier.6"
        assert last_weights(models.squeezenet1_1())[1].out_channels == 1000


@pytest.mark.parametrize("keep_weights", [True, False])
def test_the_first_convolution_gets_other_channels(keep_weights):
    network = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 1)), nn.Conv2d(2, 4, 1))
    first, second = network[0][0], network[1]
    adapt_input(network, 2, keep_weights)
    new = network[0][0]
    assert new.weight.shape == (2, 2, 1, 1)
    assert network[1] is second
    expected = (first.weight.sum(1, keepdim=True) / 2).expand(2, 2, 1, 1)
    assert torch.allclose(new.weight, expected) == keep_weights
    assert new.bias.equal(first.bias) == keep_weights


def test_a_first_convolution_that_fits_is_left_alone():
    conv = nn.Conv2d(3, 2, 1)
    network = nn.Sequential(conv)
    adapt_input(network, 3, keep_weights=False)
    assert network[0] is conv


def test_an_output_layer_of_another_width_keeps_its_weights(tmp_path):
    stored = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5)).state_dict()
    path = str(tmp_path / "weights.pth")
    torch.save(stored | {"aux.weight": torch.zeros(1)}, path)
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    own = network[1].weight.clone()
    load_file(network, path, "it")
    assert network[0].weight.equal(stored["0.weight"])
    assert network[1].weight.equal(own)
    with pytest.raises(
        ValueError, match=r"not the weights of it: 0\.weight is \(3, 2\)"
    ):
        load_file(nn.Sequential(nn.Linear(7, 3), nn.Linear(3, 4)), path, "it")


def test_a_first_convolution_of_other_channels_shares_the_stored_weights(tmp_path):
    stored = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1)).state_dict()
    stored["0.weight"].copy_(torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1))
    path = str(tmp_path / "weights.pth")
    torch.save(stored, path)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 4, 1))
    load_file(network, path, "it")
    assert network[0].weight.flatten().tolist() == [9.0, 9.0]
    assert network[1].weight.equal(stored["1.weight"])
    with pytest.raises(ValueError, match=r"0\.weight is \(2, 3, 1, 1\) instead"):
        load_file(nn.Sequential(nn.Conv2d(1, 2, 5), nn.Conv2d(2, 4, 1)), path, "it")


def test_files_without_counters_of_batches_are_read(tmp_path):
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    stored = network.state_dict()
    stored["0.running_mean"] = torch.tensor([1.0, 2.0])
    del stored["0.num_batches_tracked"]
    path = str(tmp_path / "weights.pth")
    torch.save(stored, path)
    network[0].num_batches_tracked.fill_(7)
    load_file(network, path, "it")
    assert network[0].running_mean.tolist() == [1.0, 2.0]
    assert network[0].num_batches_tracked == 7


def test_only_scales_of_zero_are_set_to_one():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    nn.init.zeros_(network[0].weight)
    nn.init.constant_(network[1].weight, 0.5)
    nn.init.zeros_(network[2].weight)
    start_scales_at_one(network)
    assert [layer.weight.unique().item() for layer in network] == [1.0, 0.5, 0.0]
    assert num_parameters(network) == 14


@pytest.mark.parametrize("norm", [TimmsResponseNorm, OurResponseNorm])
def test_global_response_norms_stay_the_identity(norm):
    network = nn.Sequential(norm(2))
    start_scales_at_one(network)
    assert network[0].weight.tolist() == [0.0, 0.0]
