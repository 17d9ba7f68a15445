import pytest
import torch
from torch import nn

from models.helpers import Recorder, batch_norm, no_norm
from normlab.models import VisionTransformer
from normlab.models.vit import Attention


def test_norms_before_each_part_and_at_the_end():
    norm = Recorder()
    network = VisionTransformer(
        (1, 28, 28), 10, norm, dim=8, depth=2, heads=2, patch_size=7
    )
    assert norm.calls == [(8, 1)] * 5
    assert network.positions.shape == (1, 16, 8)
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_norms_see_channels_on_axis_one():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(tuple(x.shape))
            return x

    network = VisionTransformer(
        (1, 16, 16), 10, lambda c, d: Look(), dim=8, depth=1, heads=1, patch_size=8
    )
    network(torch.zeros(3, 1, 16, 16))
    assert seen == [(3, 8, 4)] * 3


def test_attention_equals_pytorchs():
    torch.manual_seed(0)
    own, reference = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight.data.copy_(own.inputs.weight)
    reference.in_proj_bias.data.copy_(own.inputs.bias)
    reference.out_proj.load_state_dict(own.outputs.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(own(x), reference(x, x, x, need_weights=False)[0])


def test_batch_norm_trains():
    network = VisionTransformer((1, 16, 16), 10, batch_norm, dim=8, depth=1, heads=2)
    network(torch.randn(4, 1, 16, 16)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_errors():
    with pytest.raises(
        ValueError,
        match=r"model\.patch_size=5 must divide the image, got 28 x 28.*image_size=30",
    ):
        VisionTransformer((1, 28, 28), 10, no_norm, patch_size=5)
    with pytest.raises(
        ValueError, match=r"model\.heads must divide model\.dim, got 3 heads for 64"
    ):
        VisionTransformer((1, 28, 28), 10, no_norm, heads=3)
    with pytest.raises(ValueError, match=r"model\.depth must be"):
        VisionTransformer((1, 28, 28), 10, no_norm, depth=0)
