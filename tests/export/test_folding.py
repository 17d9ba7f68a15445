"""Batch norms are folded where that changes nothing, and only there."""

import pytest
import torch
from torch import nn

from normlab.export.folding import Fold, fold_norms
from normlab.models.blocks import TokenNorm
from normlab.norms import (
    BatchNorm,
    FrozenBatchNorm,
    GhostBatchNorm,
    GroupNorm,
    MovingAverageBatchNorm,
)
from normlab.norms.on_weights import centre_weights


def seasoned(norm):
    """A norm with random scale, shift and statistics."""
    generator = torch.Generator().manual_seed(0)
    for name, value in norm.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            assert name.endswith("num_batches_tracked")
    return norm


def fold(*layers, shape=(2, 3, 6, 6)):
    network = nn.Sequential(*layers).eval()
    inputs = torch.randn(shape)
    folded, rows = fold_norms(network, inputs)
    torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-4, atol=1e-5)
    return folded, rows


NORMS = {
    "custom": lambda: BatchNorm(4, 2),
    "torch": lambda: nn.BatchNorm2d(4),
    "without scale": lambda: nn.BatchNorm2d(4, affine=False),
    "frozen": lambda: FrozenBatchNorm(4, 2),
    "ghost": lambda: GhostBatchNorm(4, 2),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_any_norm_with_running_statistics_is_folded(name, bias):
    conv = nn.Conv2d(3, 4, 3, bias=bias)
    norm = seasoned(NORMS[name]())
    folded, rows = fold(conv, norm, nn.ReLU())
    assert rows == [Fold("1", "0")]
    assert isinstance(folded[1], nn.Identity)
    scale = (norm.running_var + norm.eps).rsqrt()
    if getattr(norm, "weight", None) is not None:
        scale = scale * norm.weight
    expected = conv.weight * scale[:, None, None, None]
    torch.testing.assert_close(folded[0].weight, expected)
    assert not torch.equal(conv.weight, folded[0].weight)  # it was not changed


def test_a_norm_that_does_not_centre_is_folded():
    norm = seasoned(MovingAverageBatchNorm(4, 2))
    folded, rows = fold(nn.Conv2d(3, 4, 3, bias=False), norm, nn.ReLU())
    assert rows == [Fold("1", "0")]
    assert torch.equal(folded[0].bias, norm.bias)


def test_a_norm_of_tokens_is_folded_into_the_linear_layer_before():
    norm = TokenNorm(seasoned(nn.BatchNorm1d(5)))
    folded, rows = fold(nn.Linear(3, 5), norm, shape=(2, 7, 3))
    assert rows == [Fold("1.norm", "0")]
    assert isinstance(folded[1].norm, nn.Identity)


class Shared(nn.Module):
    """The output of a convolution reaches a norm and a sum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = seasoned(nn.BatchNorm2d(4))

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


class Twice(nn.Module):
    """A norm that is used in two places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = seasoned(nn.BatchNorm2d(3))

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


@pytest.mark.parametrize(
    ("layers", "name", "why"),
    [
        ((nn.Conv2d(3, 4, 1), GroupNorm(4, 2, num_groups=2)), "1", "no running stat"),
        ((nn.ReLU(), nn.BatchNorm2d(3)), "1", "no linear layer or convolution"),
        ((nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), "2", "no linear layer"),
        ((nn.ConvTranspose2d(3, 4, 1), nn.BatchNorm2d(4)), "1", "no linear layer"),
        ((Shared(),), "0.norm", "other layers read the output of 0.conv too"),
        ((Twice(),), "0.norm", "it is not called once"),
        (
            (nn.Conv2d(3, 4, 3), nn.Flatten(), nn.BatchNorm1d(64)),
            "2",
            "it does not normalize the channels of 0",
        ),
    ],
)
def test_other_norms_stay(layers, name, why):
    folded, (row,) = fold(*layers)
    assert (row.name, row.into) == (name, None)
    assert why in row.why
    assert not isinstance(folded.get_submodule(name), nn.Identity)


class Bent(nn.BatchNorm2d):
    """A batch norm that also bends its output."""

    def forward(self, x):
        return super().forward(x).tanh()


def test_a_norm_that_does_more_stays():
    _, (row,) = fold(nn.Conv2d(3, 4, 1), seasoned(Bent(4)))
    assert row == Fold("1", None, "it does more than scale and shift channels")


def test_centred_weights_take_over_the_norm_behind_them():
    conv = nn.Conv2d(3, 4, 3)
    norm = seasoned(MovingAverageBatchNorm(4, 2))
    network = centre_weights(nn.Sequential(conv, norm), skip_output=False)
    folded, rows = fold(*network)
    assert rows == [Fold("1", "0")]
    scale = norm.weight * (norm.running_mean_square + norm.eps).rsqrt()
    centred = network[0].weight
    torch.testing.assert_close(centred.mean((1, 2, 3)), torch.zeros(4))
    torch.testing.assert_close(folded[0].weight, centred * scale[:, None, None, None])
    assert "parametrizations" in "".join(network.state_dict())  # it was not changed
