from functools import partial

import pytest
import torch
from timm.models import vision_transformer
from torch import nn

from models.helpers import Recorder, batch_norm, no_norm
from normlab.models import VisionTransformer
from normlab.models.vit import Attention
from normlab.norms import LayerNormPerPixel


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


PLACES = {
    "pre": lambda x, f, norm: x + f(norm(x)),
    "post": lambda x, f, norm: norm(x + f(x)),
    "peri": lambda x, f, norm: x + norm(f(norm(x))),
    "both": lambda x, f, norm: norm(x + f(norm(x))),
    "none": lambda x, f, norm: x + f(x),
}


class Halve(nn.Module):
    """In the place of a norm, with another value than its input."""

    def __init__(self, num_features, dim):
        super().__init__()

    def forward(self, x):
        return x / 2 + 1


@pytest.mark.parametrize("place", PLACES)
def test_a_block_has_its_norms_where_the_place_says(place):
    torch.manual_seed(0)
    network = VisionTransformer(
        (1, 16, 16), 10, Halve, dim=8, depth=1, heads=2, norm_place=place
    )
    block, norm = network.blocks[0], Halve(8, 1)
    x = torch.randn(3, 5, 8)
    expected = PLACES[place](x, block.attention, norm)
    expected = PLACES[place](expected, block.mlp, norm)
    torch.testing.assert_close(block(x), expected)
    last = x if place in ("post", "both") else norm(x)
    torch.testing.assert_close(network.norm(x), last)


@pytest.mark.parametrize("place", ["pre", "post"])
def test_a_block_equals_pytorchs(place):
    torch.manual_seed(0)
    options = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
    reference = nn.TransformerEncoderLayer(
        8, 2, 16, norm_first=place == "pre", **options
    )
    norm = partial(LayerNormPerPixel, eps=1e-5)
    network = VisionTransformer(
        (1, 16, 16), 10, norm, dim=8, depth=1, heads=2, norm_place=place
    )
    block = network.blocks[0]
    norms = [layer for layer in block.modules() if isinstance(layer, LayerNormPerPixel)]
    theirs = [reference.norm1, reference.norm2, reference.linear1, reference.linear2]
    theirs.append(reference.self_attn.out_proj)
    ours = [*norms, block.mlp[0], block.mlp[2], block.attention.outputs]
    for own, their in zip(ours, theirs, strict=True):
        nn.init.normal_(their.weight)
        own.load_state_dict(their.state_dict())
    block.attention.inputs.weight.data.copy_(reference.self_attn.in_proj_weight)
    block.attention.inputs.bias.data.copy_(reference.self_attn.in_proj_bias)
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(block(x), reference(x), rtol=1e-4, atol=1e-4)


def test_norms_of_queries_and_keys_equal_timms():
    torch.manual_seed(0)
    norm = partial(LayerNormPerPixel, eps=1e-5)
    own = Attention(8, 2, norm)
    reference = vision_transformer.Attention(
        8, 2, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm
    )
    pairs = [(own.inputs, reference.qkv), (own.outputs, reference.proj)]
    pairs.append((own.query_norm.norm, reference.q_norm))
    pairs.append((own.key_norm.norm, reference.k_norm))
    for ours, theirs in pairs:
        nn.init.normal_(theirs.weight)
        ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(own(x), reference(x), rtol=1e-4, atol=1e-4)


def test_the_norms_of_queries_and_keys_are_two_more_per_block():
    norm = Recorder()
    VisionTransformer((1, 16, 16), 10, norm, dim=8, depth=2, heads=2, qk_norm=True)
    assert sorted(norm.calls) == [(4, 1)] * 4 + [(8, 1)] * 5


def test_layer_scale_multiplies_each_branch_by_its_channels():
    torch.manual_seed(0)
    network = VisionTransformer(
        (1, 16, 16), 10, no_norm, dim=8, depth=1, heads=2, layer_scale=0.5
    )
    block, x = network.blocks[0], torch.randn(3, 5, 8)
    y = x + block.attention(x) / 2
    torch.testing.assert_close(block(x), y + block.mlp(y) / 2)
    factors = torch.arange(8.0)
    with torch.no_grad():
        block.scale1.factor.copy_(factors)
        block.scale2.factor.zero_()
    torch.testing.assert_close(block(x), x + block.attention(x) * factors)


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
    message = r"model\.norm_place must be one of pre, post, peri, both, none, got 'mid'"
    with pytest.raises(ValueError, match=message):
        VisionTransformer((1, 28, 28), 10, no_norm, norm_place="mid")
    with pytest.raises(ValueError, match=r"model\.depth must be"):
        VisionTransformer((1, 28, 28), 10, no_norm, depth=0)
