"""Tools of PyTorch and torchvision that look for batch norms find ours."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.feature_extraction import create_feature_extractor

from normlab.norms import (
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm,
    GhostBatchNorm,
    NoisyBatchNorm,
)
from norms.helpers import assert_same, draw, randomized

# PyTorch's rules for forward and batched differentiation are scripted when they are
# first imported, which PyTorch deprecates.
scripted_rules = pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
BATCH_NORMS = [BatchNorm, GhostBatchNorm, BatchRenorm, NoisyBatchNorm]


def network_with(norm: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.ReLU()).double()


@pytest.mark.parametrize("cls", BATCH_NORMS)
def test_batch_norms_are_recognized(cls):
    assert isinstance(cls(4, 2), _BatchNorm)


def test_update_bn_computes_the_averages_anew():
    ours, theirs = network_with(BatchNorm(4, 2)), network_with(nn.BatchNorm2d(4))
    batches = [draw(6, 3, 5, 5, seed=seed) for seed in range(3)]
    for network in (ours, theirs):
        randomized(network[1])
        torch.optim.swa_utils.update_bn(batches, network)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert ours[1].num_batches_tracked.item() == 3
    assert ours[1].momentum == 0.1


@pytest.mark.parametrize("bias", [True, False])
def test_conversion_to_pytorchs_synchronized_layer(bias):
    network = network_with(BatchNorm(4, 2, eps=1e-3, momentum=0.2, bias=bias))
    randomized(network[1])
    state = copy.deepcopy(network.state_dict())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert type(converted[1]) is nn.SyncBatchNorm
    assert (converted[1].eps, converted[1].momentum) == (1e-3, 0.2)
    torch.testing.assert_close(converted.state_dict(), state, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_without_averages_of_torch_func(training):
    ours, theirs = network_with(BatchNorm(4, 2)), network_with(nn.BatchNorm2d(4))
    for network in (ours, theirs):
        torch.func.replace_all_batch_norm_modules_(network)
        network.train(training)
        assert list(network.buffers()) == []
    assert_same(ours, theirs, draw(6, 3, 5, 5), 1e-10)


@pytest.mark.parametrize("cls", BATCH_NORMS)
def test_a_layer_is_one_call_in_a_graph_of_fx(cls):
    network = network_with(cls(4, 2))
    graph = torch.fx.symbolic_trace(network)
    assert [node.target for node in graph.graph.nodes][1:4] == ["0", "1", "2"]
    x = draw(6, 3, 5, 5)
    for training in (True, False):
        twin = copy.deepcopy(network).train(training)
        torch.manual_seed(0)
        expected = twin(x)
        torch.manual_seed(0)
        assert torch.equal(copy.deepcopy(graph).train(training)(x), expected)
    with pytest.raises(ValueError, match="expected 4D input with 4 channels"):
        graph.get_submodule("1")(x)


def test_features_behind_a_norm_are_extracted():
    network = network_with(randomized(BatchNorm(4, 2)))
    extractor = create_feature_extractor(network, {"1": "normalized"})
    x = draw(6, 3, 5, 5)
    for training in (True, False):
        twin = copy.deepcopy(network[:2]).train(training)
        normalized = extractor.train(training)(x)["normalized"]
        assert torch.equal(normalized, twin(x))
        network[1].load_state_dict(randomized(BatchNorm(4, 2)).state_dict())


@scripted_rules
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2, 2)])
@pytest.mark.parametrize("cls", [BatchNorm, GhostBatchNorm])
def test_batched_gradients_equal_single_ones(shape, cls):
    layer = randomized(cls(3, max(1, len(shape) - 2)))
    x = draw(*shape).requires_grad_()
    inputs = (x, layer.weight, layer.bias)
    y = layer(x)
    directions = draw(7, *shape, seed=3)
    options = {"retain_graph": True}
    together = torch.autograd.grad(
        y, inputs, directions, is_grads_batched=True, **options
    )
    single = [torch.autograd.grad(y, inputs, dy, **options) for dy in directions]
    apart = tuple(torch.stack(parts) for parts in zip(*single, strict=True))
    torch.testing.assert_close(together, apart)

    def gradients(dy):
        return torch.autograd.grad(y, inputs, dy, **options)

    torch.testing.assert_close(torch.func.vmap(gradients)(directions), apart)


@scripted_rules
def test_a_jacobian_by_vectorized_gradients():
    layer, x = randomized(BatchNorm(3, 1)), draw(5, 3)
    jacobian = torch.autograd.functional.jacobian
    torch.testing.assert_close(jacobian(layer, x, vectorize=True), jacobian(layer, x))


@scripted_rules
@pytest.mark.parametrize("cls", BATCH_NORMS)
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 2)])
def test_forward_mode_differentiation_in_training(shape, cls):
    layer = randomized(cls(3, max(1, len(shape) - 2)))
    x, tangent = draw(*shape), draw(*shape, seed=1)
    twin = copy.deepcopy(layer)

    def call(x):
        torch.manual_seed(0)
        return copy.deepcopy(twin)(x)

    jacobian = torch.autograd.functional.jacobian(call, x)
    expected = (jacobian * tangent).flatten(x.ndim).sum(-1)
    with forward_ad.dual_level():
        torch.manual_seed(0)
        y = layer(forward_ad.make_dual(x, tangent))
        primal, found = forward_ad.unpack_dual(y)
    torch.testing.assert_close(primal, call(x))
    torch.testing.assert_close(found, expected)
    call_again = copy.deepcopy(twin)
    torch.manual_seed(0)
    call_again(x)
    torch.testing.assert_close(layer.state_dict(), call_again.state_dict())


@pytest.mark.parametrize("cls", [BatchNorm2d, nn.BatchNorm2d])
def test_averages_that_are_no_longer_tracked_stay(cls):
    layer = randomized(cls(4))
    layer.track_running_stats = False
    before = copy.deepcopy(layer.state_dict())
    x = draw(6, 4, 3, 3)
    normalized = layer(x)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)
    reference = nn.BatchNorm2d(4, track_running_stats=False).double()
    reference.load_state_dict({name: before[name] for name in ("weight", "bias")})
    torch.testing.assert_close(normalized, reference(x))
    reference = nn.BatchNorm2d(4).double()
    reference.load_state_dict(before)
    torch.testing.assert_close(layer.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("cls", [BatchNorm1d, nn.BatchNorm1d])
def test_old_states_are_assigned_to_a_layer_without_memory(cls):
    state = nn.BatchNorm1d(4).state_dict()
    del state["num_batches_tracked"]
    state._metadata = {"": {"version": 1}}
    with torch.device("meta"):
        layer = cls(4)
    layer.load_state_dict(state, assign=True)
    assert not any(value.is_meta for value in layer.state_dict().values())
    assert layer.num_batches_tracked.item() == 0
    layer(torch.randn(5, 4))
