"""A small vision transformer whose norms stand before attention and MLP."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.models.biases import require_bias
from normlab.models.blocks import Norm, TokenNorm, image_shape, positive_integer
from normlab.models.blocks import activation as activation_named


class VisionTransformer(nn.Module):
    """Patches as tokens, blocks of attention and MLP, and a linear layer on their mean.

        x = patches(image) + positions
        x = x + attention(norm(x))        x = x + mlp(norm(x))        for each block
        y = linear(mean over tokens of norm(x))

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

    Raises:
        ValueError: the samples are no images or too small, the patches do not divide
            the image, the heads do not divide `dim`, or `bias` is false.
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
    ) -> None:
        super().__init__()
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
        blocks = [
            Block(dim, heads, mlp_ratio * dim, norm, activation, dropout)
            for _ in range(depth)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.norm = TokenNorm(norm(dim, 1))
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


class Block(nn.Module):
    """Attention between tokens, then an MLP on each, both with norm and shortcut.

    Input and output ``(N, L, dim)``.

    Args:
        dim: channels of a token.
        heads: number of attention heads.
        hidden: width of the MLP's hidden layer.
        norm: called as ``norm(dim, 1)`` twice.
        activation: name of the activation inside the MLP.
        dropout: probability of zeroing an element, after attention and after the MLP.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        norm: Norm,
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm1 = TokenNorm(norm(dim, 1))
        self.attention = Attention(dim, heads)
        self.norm2 = TokenNorm(norm(dim, 1))
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), activation_named(activation), nn.Linear(hidden, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Attention(nn.Module):
    """Softmax attention of every token to all tokens, separately in each head.

    Input and output ``(N, L, dim)``.

    Args:
        dim: channels of a token.
        heads: number of heads, each with ``dim / heads`` of the channels.

    Raises:
        ValueError: `heads` does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(
                f"model.heads must divide model.dim, got {heads} heads for {dim}"
            )
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * dim)
        self.outputs = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        # (N, L, 3, heads, dim / heads)
        split = self.inputs(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # (N, heads, L, dim / heads)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.outputs(mixed.transpose(1, 2).flatten(2))
