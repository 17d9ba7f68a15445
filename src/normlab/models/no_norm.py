"""What makes residual networks trainable without norms.

All of these let a network begin as one whose blocks do nothing, or little.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from normlab.models.blocks import choose

INITIALIZATIONS = ("fixup", "skipinit", "rezero")


# For type checkers, the layers of a module are modules or tensors. Below, those of a
# residual network are annotated as Any.


class Factor(nn.Module):
    """Multiply by one learned number, `factor` ``(1,)``.

    Args:
        initial: its first value.
    """

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((1,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Shift(nn.Module):
    """Add one learned number, `shift` ``(1,)``, which is 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


def check_initialization(name: str | None, place: str) -> None:
    """Refuse an unknown initialization, and Fixup where it is not defined.

    Args:
        name: fixup, skipinit or rezero; None for none.
        place: where the norms would stand, see `normlab.models.ResNet`.

    Raises:
        ValueError: says what is possible.
    """
    if name is None:
        return
    choose("model.no_norm_init", name, INITIALIZATIONS)
    if name == "fixup" and place != "post":
        raise ValueError(
            "model.no_norm_init=fixup needs model.norm_place=post, got "
            f"{place}; use model.no_norm_init=skipinit"
        )


def is_without_norms(network: nn.Module) -> bool:
    """Whether each layer that a residual network calls `norm` is the identity."""
    norms = []
    for name, layer in network.named_modules():
        if name.rpartition(".")[2] == "norm":
            norms.append(layer)
    return all(isinstance(layer, nn.Identity) for layer in norms)


def initialize_without_norms(network: nn.Module, name: str) -> None:
    """Prepare a residual network without norms, after its He initialization.

    - skipinit: each branch ends in a learned factor, which is 0 at first (De and Smith,
      2020, arXiv 2002.10444). The network begins with its shortcuts alone.
    - rezero: the same. ReZero (Bachlechner et al., 2020, arXiv 2003.04887) came to it
      on another way, and differs for transformers only.
    - fixup: see `fixup`.

    Args:
        network: a `normlab.models.ResNet`, changed in place.
        name: fixup, skipinit or rezero.
    """
    if name == "fixup":
        fixup(network)
        return
    for block in residual_blocks(network):
        block.layers.append(Factor(0.0))


def residual_blocks(network: Any) -> list[Any]:
    """The blocks of all stages."""
    return [block for stage in network.stages for block in stage]


@torch.no_grad()
def fixup(network: Any) -> None:
    r"""Fixup initialization (Zhang, Dauphin and Ma, 2019, arXiv 1901.09321).

    In a network with L branches of m convolutions each,

    - the last convolution of a branch and the output layer are 0 at first;
    - the other convolutions of a branch begin as by He et al., times
      :math:`L^{-1 / (2 m - 2)}`;
    - one learned number, 0 at first, is added before every convolution, activation and
      output layer, but not to the images; each branch is multiplied by one, which is 1
      at first.

    Args:
        network: a `normlab.models.ResNet` with He initialization, changed in place.
    """
    blocks = residual_blocks(network)
    for block in blocks:
        *others, last = block.layers
        scale = len(blocks) ** (-1 / (2 * len(others)))
        for part in others:
            part.conv.weight.mul_(scale)
        last.conv.weight.zero_()

        parts = [shifted(part) for part in others]
        block.layers = nn.Sequential(*parts, shifted(last, Factor(1.0)))
        if isinstance(block.shortcut, nn.Sequential):
            block.shortcut = nn.Sequential(Shift(), *block.shortcut)
    network.stem.norm = Shift()
    network.last = Shift()
    network.output.weight.zero_()
    network.output.bias.zero_()


def shifted(part: Any, factor: nn.Module | None = None) -> nn.Sequential:
    """A convolution and its activation with a `Shift` before each of them.

    Args:
        part: has the children `conv` and `activation`.
        factor: multiplies the output of the convolution, before the second shift.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(before=Shift(), conv=part.conv)
    if factor is not None:
        parts["factor"] = factor
    parts["shift"] = Shift()
    parts["activation"] = part.activation
    return nn.Sequential(parts)
