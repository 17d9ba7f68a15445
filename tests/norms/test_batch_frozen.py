import pytest
import torch
import torchvision
from torch import nn

from normlab.norms import FrozenBatchNorm
from norms.helpers import assert_same, channels, draw, randomized


def test_frozen_norm_worked_by_head():
    layer = FrozenBatchNorm(1, 1, eps=1.0)
    layer.running_mean.fill_(2.0)
    layer.running_var.fill_(3.0)
    layer.weight.fill_(10.0)
    layer.bias.fill_(1.0)
    assert layer(torch.tensor([[2.0], [4.0]])).tolist() == [[1.0], [11.0]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_frozen_norm_by_its_formula_in_either_mode(dim, shape, training):
    layer = randomized(FrozenBatchNorm(4, dim, eps=0.3)).train(training)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    x = draw(*shape)
    mean, var, weight, bias = (
        channels(before[name], x)
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    torch.testing.assert_close(
        layer(x), (x - mean) / (var + 0.3).sqrt() * weight + bias
    )
    torch.testing.assert_close(dict(layer.named_buffers()), before, rtol=0, atol=0)


def test_frozen_norm_is_torchvisions():
    ours, theirs = FrozenBatchNorm(8, 2), torchvision.ops.FrozenBatchNorm2d(8)
    randomized(theirs)
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours.train(), theirs, draw(5, 8, 4, 3))
    assert list(ours.parameters()) == []
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_frozen_norm_loads_what_batch_norms_stored():
    theirs = nn.Sequential(nn.BatchNorm1d(3))
    theirs(torch.randn(4, 3))
    ours = nn.Sequential(FrozenBatchNorm(3, 1))
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours, theirs.eval(), torch.randn(5, 3))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        ours.load_state_dict(theirs.state_dict() | {"0.alpha": torch.ones(3)})


@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_a_layer_is_fresh_until_a_buffer_has_another_value(name):
    layer = FrozenBatchNorm(3, 1)
    assert layer.is_fresh()
    layer.get_buffer(name)[1] = 0.5
    assert not layer.is_fresh()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frozen_norm_in_half_precision_rounds_once(dtype):
    layer = randomized(FrozenBatchNorm(4, 2)).to(dtype)
    exact = FrozenBatchNorm(4, 2).double()
    exact.load_state_dict(layer.state_dict())
    x = draw(64, 4, 7, 7, dtype=dtype)
    expected = exact(x.double())
    unit = torch.finfo(dtype).eps
    error = (layer(x).double() - expected).abs()
    assert (error <= 0.51 * unit * expected.abs() + unit**2).all()
