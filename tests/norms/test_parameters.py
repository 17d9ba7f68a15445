"""Which parameters belong to norms does not depend on classes or shapes."""

import copy

import torch
from torch import nn

from normlab.norms import normalize_weights
from normlab.norms.parameters import mark_norm, marked_norms, norm_parameters


class Rows(nn.Module):
    """A layer with a scale of rank 2."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 3))

    def forward(self, x):
        return self.gamma * x


def test_marked_layers_are_found_in_copies_too():
    network = nn.Sequential(nn.Linear(2, 3), mark_norm(Rows()), Rows())
    assert marked_norms(network) == {"1": network[1]}
    assert norm_parameters(network) == {network[1].gamma}
    twin = copy.deepcopy(network)
    assert norm_parameters(twin) == {twin[1].gamma}


def test_lengths_of_weight_norm_belong_to_a_norm():
    network = normalize_weights(nn.Sequential(nn.Linear(2, 3, bias=False)))
    length = network[0].parametrizations.weight.original0
    assert norm_parameters(network) == {length}
