import pytest
import torch
from torch import nn

from normlab.norms import BatchNorm, torch_batch_norm
from norms.helpers import assert_same, draw, randomized


@pytest.mark.parametrize(
    ("dim", "cls"), [(1, nn.BatchNorm1d), (2, nn.BatchNorm2d), (3, nn.BatchNorm3d)]
)
def test_dim_chooses_the_class(dim, cls):
    layer = torch_batch_norm(4, dim, eps=1e-3)
    assert type(layer) is cls
    assert (layer.num_features, layer.eps) == (4, 1e-3)


def test_options_reach_the_constructor():
    assert torch_batch_norm(4, 1, momentum=None).momentum is None
    assert torch_batch_norm(4, 2, affine=False).weight is None


def test_the_shift_can_be_left_out():
    layer = torch_batch_norm(4, 2, bias=False)
    assert layer.bias is None
    assert layer.weight.shape == (4,)


@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_batch_norm_written_out_does(training):
    theirs = randomized(torch_batch_norm(4, 2, eps=0.3)).train(training)
    ours = BatchNorm(4, 2, eps=0.3).double().train(training)
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(6, 4, 3, 2), 1e-12)
    torch.testing.assert_close(ours.state_dict(), dict(theirs.state_dict()))


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="with a GPU, PyTorch can synchronize"
)
def test_torchs_synchronized_norm_needs_gpus():
    with pytest.raises(ValueError, match="use norm=custom"):
        torch_batch_norm(4, 2, sync=True)
