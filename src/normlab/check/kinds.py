"""The kinds of layers that are known, each with the formula that it must follow."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from normlab.check.formulas import (
    Formula,
    over_batch,
    over_channels,
    over_last,
    over_positions,
    over_sample,
)
from normlab.norms.construction import name_of


@dataclass(frozen=True)
class Kind:
    """What a layer is compared with.

    Attributes:
        name: as on the command line.
        title: in sentences.
        formulas: any of them is right; empty if there is nothing to compare with.
        has_averages: whether evaluation uses running averages.
        learns: what must be learned: "scale and shift", "scale", or nothing.
        may_be_last: whether the channels may lie on the last axis.
        needs_positions: whether vectors have no statistics.
    """

    name: str
    title: str
    formulas: tuple[Formula, ...] = ()
    has_averages: bool = False
    learns: str = ""
    may_be_last: bool = False
    needs_positions: bool = False

    def for_layer(self, layer: nn.Module) -> "Kind":
        """This kind with the number of groups that a layer has."""
        if self.name != "group":
            return self
        for name in GROUP_COUNTS:
            count = getattr(layer, name, None)
            if isinstance(count, int) and not isinstance(count, bool):
                return replace(self, formulas=(Formula(over_sample, groups=count),))
        return replace(self, formulas=())


GROUP_COUNTS = ("num_groups", "groups", "n_groups", "G")
RMS = Formula(over_channels, subtracts_mean=False, about_mean=False)

OTHER = Kind("other", "a layer of its own kind")
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "batch",
            "batch norm",
            (Formula(over_batch),),
            has_averages=True,
            learns="scale and shift",
        ),
        Kind(
            "layer",
            "layer norm",
            (Formula(over_sample), Formula(over_channels), Formula(over_last)),
            learns="scale and shift",
            may_be_last=True,
        ),
        Kind(
            "group",
            "group norm",
            (Formula(over_sample, groups=2),),
            learns="scale and shift",
        ),
        Kind(
            "instance",
            "instance norm",
            (Formula(over_positions),),
            needs_positions=True,
        ),
        Kind(
            "rms",
            "root mean square norm",
            (RMS, replace(RMS, axes=over_last), replace(RMS, axes=over_sample)),
            learns="scale",
            may_be_last=True,
        ),
        OTHER,
    )
}
NAMES = {
    "batch": ("batchnorm", "batchnormalization", "batchnormalisation", "bn"),
    "layer": ("layernorm", "layernormalization", "layernormalisation", "ln"),
    "group": ("groupnorm", "groupnormalization", "groupnormalisation", "gn"),
    "instance": ("instancenorm", "instancenormalization", "instancenormalisation"),
    "rms": ("rmsnorm", "rmsnormalization", "rootmeansquarenorm"),
    # They have the output of others at their first values, and learn other things.
    "other": ("scalenorm", "seednorm"),
}
# Words around the name of a kind that say nothing about the layer.
AROUND = re.compile(
    r"^(my|custom|our|own|simple|naive|manual|student|basic|plain|torch|the|hand|"
    r"handmade|homemade|scratch|new)+|(layer|module|fromscratch|scratch|class|v\d+)+$"
)


def kind_by_name(target: Callable[..., Any]) -> Kind | None:
    """The kind that the name of a class or function says; None if it says nothing.

    `MyBatchNorm1d` and `custom_batch_norm` are batch norms, `GhostBatchNorm` need not
    be one.
    """
    name = name_of(target).lower().replace("_", "")
    name = re.sub(r"[123]d", "", name)
    bare = AROUND.sub("", AROUND.sub("", name))
    for kind, names in NAMES.items():
        if bare in names:
            return KINDS[kind]
    return None


def check_kind(name: str, kinds: Mapping[str, Kind] = KINDS) -> Kind:
    """Return a kind by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in kinds:
        raise ValueError(f"like must be one of {', '.join(kinds)}, got {name!r}")
    return kinds[name]


def kind_of_title(title: str) -> str:
    """The name of a kind, by its title."""
    for kind in KINDS.values():
        if kind.title == title:
            return kind.name
    return OTHER.name
