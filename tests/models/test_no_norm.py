"""Residual networks without norms, against what their papers say of the first step."""

import pytest
import torch
from torch import nn

from models.helpers import batch_norm, no_norm, num_parameters
from normlab.models import ResNet
from normlab.models.no_norm import Factor, Shift, residual_blocks


def build(name, norm=no_norm, depth=8, seed=0, **options):
    torch.manual_seed(seed)
    options = {"no_norm_init": name} | options
    return ResNet((3, 16, 16), 10, norm, depth=depth, **options)


@pytest.mark.parametrize("place", ["post", "pre", "peri"])
@pytest.mark.parametrize("name", ["skipinit", "rezero"])
def test_blocks_begin_as_their_shortcuts(name, place):
    network = build(name, norm_place=place)
    block = network.stages[0][0]
    x = torch.rand(2, 16, 4, 4)
    torch.testing.assert_close(block(x), x)
    factors = [layer for layer in network.modules() if isinstance(layer, Factor)]
    assert [layer.factor.tolist() for layer in factors] == [[0.0]] * 3
    with torch.no_grad():
        block.layers[-1].factor.fill_(3.0)
    branch = block.layers[:-1](block.before(x))
    torch.testing.assert_close(block(x), block.activation(x + 3 * branch))


def test_fixup_has_the_parameters_of_its_paper():
    plain, network = build(None), build("fixup")
    # Per block: 4 shifts and a factor. Before the stem's activation and the output.
    assert num_parameters(network) == num_parameters(plain) + 3 * 5 + 2
    shifts = [layer for layer in network.modules() if isinstance(layer, Shift)]
    assert [layer.shift.tolist() for layer in shifts] == [[0.0]] * 14
    assert network(torch.rand(2, 3, 16, 16)).tolist() == [[0.0] * 10] * 2


@pytest.mark.parametrize(
    ("depth", "expected"), [(8, 3**-0.5), (20, 9**-0.5), (50, 16**-0.25)]
)
def test_fixup_scales_the_weights_of_branches(depth, expected):
    plain, network = build(None, depth=depth), build("fixup", depth=depth)
    for one, other in zip(
        residual_blocks(plain), residual_blocks(network), strict=True
    ):
        for theirs, ours in list(zip(one.layers, other.layers, strict=True))[:-1]:
            torch.testing.assert_close(ours.conv.weight, theirs.conv.weight * expected)
        assert not other.layers[-1].conv.weight.any()
    torch.testing.assert_close(network.stem.conv.weight, plain.stem.conv.weight)


def test_a_block_of_fixup_is_its_formula():
    block = build("fixup").stages[0][0].double()
    values = iter([0.1, -0.2, 0.3, 0.4, 1.5])
    with torch.no_grad():
        for layer in block.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_()
        first, second = block.layers
        for tensor in (first.before.shift, first.shift.shift, second.before.shift):
            tensor.fill_(next(values))
        second.shift.shift.fill_(next(values))
        second.factor.factor.fill_(next(values))
    x = torch.randn(2, 16, 4, 4, dtype=torch.float64)
    hidden = nn.functional.conv2d(x + 0.1, first.conv.weight, padding=1)
    hidden = (hidden - 0.2).relu()
    branch = nn.functional.conv2d(hidden + 0.3, second.conv.weight, padding=1)
    torch.testing.assert_close(block(x), (1.5 * branch + 0.4 + x).relu())


def test_fixup_shifts_the_input_of_a_projection():
    block = build("fixup", depth=18).stages[1][0]
    shift, conv, *_ = block.shortcut
    with torch.no_grad():
        shift.shift.fill_(0.5)
    x = torch.rand(2, 64, 4, 4)
    torch.testing.assert_close(block.shortcut(x), conv(x + 0.5))


def first_loss(network):
    torch.manual_seed(1)
    return nn.functional.cross_entropy(
        network(torch.randn(4, 3, 8, 8)), torch.arange(4)
    )


@pytest.mark.parametrize("name", ["fixup", "skipinit", "rezero"])
def test_deep_networks_begin_with_small_outputs_and_learn(name):
    with torch.no_grad():
        assert first_loss(build(None, depth=56)) > 50
    network = build(name, depth=56)
    loss = first_loss(network)
    assert loss < 4
    loss.backward()
    torch.optim.SGD(network.parameters(), 0.01).step()
    with torch.no_grad():
        assert first_loss(network) < loss


@pytest.mark.parametrize("name", ["fixup", "skipinit"])
def test_networks_with_norms_are_not_changed(name):
    plain, network = build(None, batch_norm), build(name, batch_norm)
    torch.testing.assert_close(network.state_dict(), plain.state_dict())


def test_unknown_initializations_are_refused():
    with pytest.raises(ValueError, match=r"model\.no_norm_init must be one of fixup"):
        build("zero")
    with pytest.raises(ValueError, match=r"needs model\.norm_place=post, got pre"):
        build("fixup", norm_place="pre")
