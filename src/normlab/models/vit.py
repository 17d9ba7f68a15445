"""A small vision transformer (Dosovitskiy et al., 2021, arXiv 2010.11929), with its norms before each part."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.models.biases import fixed_bias
from normlab.models.blocks import TokenNorm, image_shape, widths
from normlab.models.blocks import activation as activation_named


class VisionTransformer(nn.Module):
    """Patches as tokens, `depth` pre-norm blocks of attention and MLP, a norm, the mean over tokens, a linear layer.

        x = x + attention(norm(x))        x = x + mlp(norm(x))

    Norms see the tokens as ``(N, C, L)``. Layer norm as transformers use it is the one over the channels of each
    token. Inputs ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(dim, 1)``.
        dim: channels of a token.
        depth: number of blocks.
        heads: of the attention.
        patch_size: pixels a side of a token.
        mlp_ratio: width of the hidden layer of each MLP in multiples of `dim`.
        activation: inside of the MLPs.
        dropout: after the embedding and after each part.
        bias: true only: norms get sums of parts, so no norm makes the bias of one layer redundant.

    Raises:
        ValueError: no images or too small ones, sides no multiple of the patch, heads that do not divide `dim`, no
            bias.
    """

    min_image_size = 16

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int, int], nn.Module],
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
        fixed_bias(
            type(self),
            bias,
            True,
            "its norms get sums of several parts, not the output of one layer",
        )
        channels, height, width = image_shape(type(self), input_shape)
        for option, value in {
            "dim": dim,
            "depth": depth,
            "heads": heads,
            "patch_size": patch_size,
        }.items():
            widths(f"model.{option}", [value])
        if height % patch_size or width % patch_size:
            raise ValueError(
                f"model.patch_size={patch_size} must divide the image, got {height} x {width} pixels; "
                f"set dataset.image_size={-(-max(height, width) // patch_size) * patch_size}"
            )
        self.embedding = nn.Conv2d(channels, dim, patch_size, patch_size)
        num_tokens = (height // patch_size) * (width // patch_size)
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
        tokens = self.embedding(x).flatten(2).transpose(1, 2)  # (N, L, C)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        return self.output(self.norm(tokens).mean(1))


class Block(nn.Module):
    """Attention between tokens and an MLP on each, both behind a norm and added to what came in."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        norm: Callable[[int, int], nn.Module],
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
    """Softmax attention of every token to all others in `heads` parts of the channels; ``(N, L, C)`` to the same.

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
        split = self.inputs(x).unflatten(
            -1, (3, self.heads, -1)
        )  # (N, L, 3, heads, C / heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query, key, value
        )  # (N, heads, L, C / heads)
        return self.outputs(mixed.transpose(1, 2).flatten(2))
