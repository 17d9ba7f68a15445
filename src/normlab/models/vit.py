"""A small vision transformer, with norms before or behind attention and MLP."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.models.biases import require_bias
from normlab.models.blocks import (
    Norm,
    TokenNorm,
    choose,
    image_shape,
    positive_integer,
)
from normlab.models.blocks import activation as activation_named


@dataclass(frozen=True)
class Place:
    """Where the norms of a transformer stand.

    Attributes:
        before: a norm before each attention and MLP.
        behind: a norm behind each of them, before the addition.
        after: a norm after each addition.
        final: a norm on the tokens before their mean.
    """

    before: bool = False
    behind: bool = False
    after: bool = False
    final: bool = True


PLACES = {
    "pre": Place(before=True),
    "post": Place(after=True, final=False),
    "peri": Place(before=True, behind=True),
    "both": Place(before=True, after=True, final=False),
    "none": Place(),
}


class VisionTransformer(nn.Module):
    """Patches as tokens, blocks of attention and MLP, and a linear layer on their mean.

        x = patches(image) + positions
        x = x + attention(norm(x))        x = x + mlp(norm(x))        for each block
        y = linear(mean over tokens of norm(x))

    This is `norm_place="pre"`. For a part f, which is attention or MLP, the places are

    - pre: ``x + f(norm(x))`` (Xiong et al., 2020, arXiv 2002.04745);
    - post: ``norm(x + f(x))``, as in the first transformer (Vaswani et al., 2017,
      arXiv 1706.03762), without the norm before the mean;
    - peri: ``x + norm(f(norm(x)))`` (Kim et al., 2025, arXiv 2502.02732, without the
      norm of the embedding, which is optional there);
    - both: ``norm(x + f(norm(x)))``, without the norm before the mean;
    - none: ``x + f(x)``, so that the norm before the mean is the only one.

    Dosovitskiy et al. (2021), arXiv 2010.11929, without a class token. Inputs are
    ``(N, C, H, W)``, outputs ``(N, num_outputs)``. Norms see the tokens as
    ``(N, dim, L)`` for L tokens. The layer norm that transformers use normalizes over
    the channels of each token.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(dim, 1)``.
        dim: channels of a token.
        depth: number of blocks.
        heads: number of attention heads.
        patch_size: height and width of a patch, in pixels.
        mlp_ratio: width of the hidden layer of each MLP, in multiples of `dim`.
        activation: name of the activation inside the MLPs.
        dropout: probability of zeroing an element, after the embedding, after attention
            and after each MLP.
        bias: true only. Norms get sums of several parts, so no norm makes the bias of
            one layer redundant.
        norm_place: pre, post, peri, both or none.
        qk_norm: put a norm on the queries and one on the keys of each attention, over
            the channels of a head (Dehghani et al., 2023, arXiv 2302.05442).
        layer_scale: initial value of a learned factor per channel at the end of each
            attention and MLP (Touvron et al., 2021, arXiv 2103.17239); None for no
            such factors.

    Raises:
        ValueError: the samples are no images or too small, the patches do not divide
            the image, the heads do not divide `dim`, the place of the norms does not
            exist, or `bias` is false.
    """

    min_image_size = 16

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        patch_size: int = 4,
        mlp_ratio: int = 2,
        activation: str = "gelu",
        dropout: float = 0.0,
        bias: bool = True,
        norm_place: str = "pre",
        qk_norm: bool = False,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        place = PLACES[choose("model.norm_place", norm_place, list(PLACES))]
        reason = "its norms get sums of several parts, not the output of one layer"
        require_bias(type(self), bias, True, reason)
        channels, height, width = image_shape(type(self), input_shape)
        positive_integer("model.dim", dim)
        positive_integer("model.depth", depth)
        positive_integer("model.heads", heads)
        positive_integer("model.patch_size", patch_size)
        num_tokens = count_patches(height, width, patch_size)

        self.embedding = nn.Conv2d(channels, dim, patch_size, patch_size)
        self.positions = nn.Parameter(torch.zeros(1, num_tokens, dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential()
        for _ in range(depth):
            attention = Attention(dim, heads, norm if qk_norm else None)
            mlp = hidden_layer(dim, mlp_ratio * dim, activation)
            block = Block(dim, attention, mlp, norm, dropout, place, layer_scale)
            self.blocks.append(block)
        self.norm = token_norm(norm, dim, place.final)
        self.output = nn.Linear(dim, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x).flatten(2).transpose(1, 2)  # (N, L, dim)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        return self.output(self.norm(tokens).mean(1))


def count_patches(height: int, width: int, patch_size: int) -> int:
    """Number of patches that tile an image.

    Raises:
        ValueError: the patches do not divide the image.
    """
    if height % patch_size or width % patch_size:
        patches_per_side = -(-max(height, width) // patch_size)  # rounded up
        raise ValueError(
            f"model.patch_size={patch_size} must divide the image, "
            f"got {height} x {width} pixels; "
            f"set dataset.image_size={patches_per_side * patch_size}"
        )
    return (height // patch_size) * (width // patch_size)


def hidden_layer(dim: int, hidden: int, activation: str) -> nn.Sequential:
    """Build an MLP with one hidden layer, for tokens ``(N, L, dim)``."""
    into = nn.Linear(dim, hidden)
    between = activation_named(activation)
    back = nn.Linear(hidden, dim)
    return nn.Sequential(into, between, back)


def token_norm(norm: Norm, dim: int, exists: bool) -> nn.Module:
    """Build a norm for tokens, or an identity in its place."""
    if not exists:
        return nn.Identity()
    return TokenNorm(norm(dim, 1))


class LayerScale(nn.Module):
    """Multiply every channel by a learned factor.

    Input and output ``(N, ..., dim)``.

    Args:
        dim: number of channels, on the last axis.
        initial: first value of all factors.
    """

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((dim,), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def layer_scale_of(dim: int, initial: float | None) -> nn.Module:
    """Build a `LayerScale`, or an identity if there is no initial value."""
    return nn.Identity() if initial is None else LayerScale(dim, initial)


class Block(nn.Module):
    """Attention between tokens, then an MLP on each, both with norm and shortcut.

    Input and output ``(N, L, dim)``.

    Args:
        dim: channels of a token.
        attention: from and to ``(N, L, dim)``.
        mlp: the same.
        norm: called as ``norm(dim, 1)`` for each norm.
        dropout: probability of zeroing an element, after the attention and after the
            MLP.
        place: where the norms stand.
        layer_scale: initial value of the factors of `LayerScale`; None for none.
    """

    def __init__(
        self,
        dim: int,
        attention: nn.Module,
        mlp: nn.Module,
        norm: Norm,
        dropout: float,
        place: Place,
        layer_scale: float | None,
    ) -> None:
        super().__init__()
        self.norm1 = token_norm(norm, dim, place.before)
        self.attention = attention
        self.behind1 = token_norm(norm, dim, place.behind)
        self.scale1 = layer_scale_of(dim, layer_scale)
        self.after1 = token_norm(norm, dim, place.after)
        self.norm2 = token_norm(norm, dim, place.before)
        self.mlp = mlp
        self.behind2 = token_norm(norm, dim, place.behind)
        self.scale2 = layer_scale_of(dim, layer_scale)
        self.after2 = token_norm(norm, dim, place.after)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.behind1(self.attention(self.norm1(x)))
        x = self.after1(x + self.scale1(self.dropout(attended)))
        hidden = self.behind2(self.mlp(self.norm2(x)))
        return self.after2(x + self.scale2(self.dropout(hidden)))


class Attention(nn.Module):
    """Softmax attention of every token to all tokens, separately in each head.

    Input and output ``(N, L, dim)``.

    Args:
        dim: channels of a token.
        heads: number of heads, each with ``dim / heads`` of the channels.
        norm: called as ``norm(dim / heads, 1)`` for a norm of the queries and one of
            the keys, whose parameters all heads share; None for no such norms.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, norm: Norm | None = None) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"model.heads must divide model.dim, got {heads} heads for {dim}"
            )
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.outputs = nn.Linear(dim, dim)
        self.query_norm: nn.Module = nn.Identity()
        self.key_norm: nn.Module = nn.Identity()
        if norm is not None:
            self.query_norm = TokenNorm(norm(dim // heads, 1))
            self.key_norm = TokenNorm(norm(dim // heads, 1))

    def forward(self, x: Tensor) -> Tensor:
        # (N, L, 3, heads, dim / heads)
        split = self.inputs(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # (N, heads, L, dim / heads)
        mixed = functional.scaled_dot_product_attention(
            self.query_norm(query), self.key_norm(key), value
        )
        return self.outputs(mixed.transpose(1, 2).flatten(2))
