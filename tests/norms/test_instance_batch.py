import pytest
import torch
from torch import nn

from normlab.norms import InstanceBatchNorm
from norms.helpers import assert_alike, draw, randomized, step


class SplitNorm(nn.Module):
    """Instance norm and batch norm of PyTorch for three and two channels."""

    def __init__(self):
        super().__init__()
        self.instance = nn.InstanceNorm2d(3, affine=True)
        self.batch = nn.BatchNorm2d(2)

    def forward(self, x):
        first, rest = x.split([3, 2], dim=1)
        return torch.cat([self.instance(first), self.batch(rest)], 1)


def test_it_is_instance_norm_and_batch_norm_of_torch():
    ours, theirs = randomized(InstanceBatchNorm(5, 2, ratio=0.6)), SplitNorm().double()
    theirs.load_state_dict(ours.state_dict())
    for seed in range(3):
        x, dy = draw(3, 5, 4, 2, seed=seed), draw(3, 5, 4, 2, seed=10 + seed)
        assert_alike(step(ours, x, dy), step(theirs, x, dy), 1e-10)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_half_of_the_channels_rounded_down_get_instance_norm():
    layer = InstanceBatchNorm(5, 2)
    assert (layer.instance.num_features, layer.batch.num_features) == (2, 3)


def test_vectors_pass_through_instance_norm_or_are_refused():
    x = draw(6, 4)
    y = randomized(InstanceBatchNorm(4, 1))(x)
    assert torch.equal(y[:, :2], x[:, :2])
    assert not torch.isclose(y[:, 2:], x[:, 2:]).any()
    with pytest.raises(ValueError, match="instance norm needs positions"):
        InstanceBatchNorm(4, 1, vectors="error")(x.float())


@pytest.mark.parametrize(("num_features", "ratio"), [(1, 0.5), (4, 0.1), (4, 1.0)])
def test_both_norms_must_get_channels(num_features, ratio):
    with pytest.raises(ValueError, match=r"norm\.ratio must leave channels"):
        InstanceBatchNorm(num_features, 2, ratio=ratio)
