"""The table of agreement: our norms beside implementations that others wrote."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import torch
from torch import Tensor, nn

from docs.paths import PAGES, write_if_changed
from normlab import norms

FILE = PAGES / "reference" / "norms" / "agreement.md"
UPDATES = (1, 10, 100)
PACKAGES = (
    *("torch", "torchvision", "timm", "x-transformers"),
    *("torchrl", "pytorch-tabnet"),
)
VECTORS = (6, 8)
IMAGES = (4, 8, 5, 3)
VOLUMES = (3, 8, 2, 3, 2)

PAGE = """# Agreement with other implementations

Each norm in this table and a layer of another package start from the same random
parameters and statistics, and get the same 100 batches and output gradients. The mean
and the standard deviation of the batches drift. The numbers are the largest absolute
differences: of the outputs, input gradients and parameter gradients over all batches,
of the output in evaluation after the last batch, and of the running statistics after 1,
10 and 100 batches. They are measured whenever this site is built, here with
{packages}.

{table}

`-` means that there is nothing to compare. Layers that compute their statistics in
float32 for input of every type are compared in float32.

Some conventions differ:

- pytorch-tabnet's `GBN` moves the running averages once for each part of a batch, as
  Algorithm 1 of its paper does, and `norm=ghost` once for each batch, with the mean
  over its parts. They agree if a batch is one part. Of 17 samples in parts of at most
  16, `GBN` makes parts of 9 and 8, and `norm=ghost` one of 17. `GBN` refuses a last
  part of one sample, which `norm=ghost` joins to the part before it.
- torchrl's `BatchRenorm1d` makes the variance in the running average unbiased by the
  number of samples alone, which is too much for input with positions. Without `smooth`
  it corrects by r and d fully after `warmup_steps` batches, twice as much after twice
  as many, and so on; `norm=batch_renorm` opens the limits of r and d over `ramp_steps`
  batches, as section 3 of its paper does. They agree for `ramp_steps=0` during the
  first `2 warmup_steps` batches.
"""
HEAD = (
    "norm",
    "other layer",
    "axes",
    "type",
    "output",
    "input gradient",
    "parameter gradients",
    "evaluation",
    "statistics after 1 / 10 / 100",
)

Layer = Callable[[], nn.Module]


@dataclass(frozen=True)
class Pair:
    """One of our norms, and a layer that should compute the same.

    Attributes:
        norm: name of our norm, with options that differ from the default.
        other: name of the other layer.
        ours: builds our norm for 8 channels.
        theirs: builds the other layer.
        shape: of the inputs, ``(N, 8, ...)``.
        dtype: of inputs and parameters.
        same_averages: whether their running averages follow the same rule.
    """

    norm: str
    other: str
    ours: Layer
    theirs: Layer
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float64
    same_averages: bool = True


@dataclass
class Differences:
    """Largest absolute differences of a pair; None if there is nothing to compare."""

    output: float = 0.0
    input_gradient: float = 0.0
    parameter_gradients: float | None = None
    evaluation: float | None = None
    statistics: list[float] = field(default_factory=list)


def pairs() -> Iterator[Pair]:
    """The pairs of the table."""
    yield from pairs_with_torch()
    yield from pairs_with_timm()
    yield from pairs_with_x_transformers()
    if find_spec("torchrl"):
        yield from pairs_with_torchrl()
    if find_spec("pytorch_tabnet"):
        yield from pairs_with_pytorch_tabnet()


def pair_of(
    norm: str,
    ours: Callable[[int, int], nn.Module],
    theirs: type[nn.Module],
    *arguments: Any,
    shape: tuple[int, ...] = IMAGES,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Pair:
    """A pair whose other layer is called as its package calls it.

    Args:
        norm: name of our norm, with options that differ from the default.
        ours: builds our norm from the number of channels and the dimension.
        theirs: class of the other layer.
        arguments: of the other layer.
        shape: of the inputs.
        dtype: of inputs and parameters.
        options: further arguments of the other layer.
    """
    package = theirs.__module__.partition(".")[0].replace("_", "-")
    dim = max(len(shape) - 2, 1)
    return Pair(
        norm,
        f"{package} {theirs.__name__}",
        partial(ours, 8, dim),
        partial(theirs, *arguments, **options),
        shape,
        dtype,
    )


def pairs_with_torch() -> Iterator[Pair]:
    from torchvision.ops import FrozenBatchNorm2d

    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    in_groups = partial(norms.GroupNorm, num_groups=2)
    for theirs, shape in zip(batch_norms, (VECTORS, IMAGES, VOLUMES), strict=True):
        yield pair_of("custom", norms.BatchNorm, theirs, 8, shape=shape)
        yield pair_of("group num_groups=2", in_groups, nn.GroupNorm, 2, 8, shape=shape)
    yield pair_of("instance", norms.InstanceNorm, nn.InstanceNorm2d, 8, affine=True)
    yield pair_of("rms", norms.RMSNorm, nn.RMSNorm, 8, eps=1e-6, shape=VECTORS)
    theirs = nn.LocalResponseNorm
    ours = norms.LocalResponseNorm
    yield pair_of("local_response", ours, theirs, 5, 5e-4, 0.75, 2.0)
    yield pair_of("frozen", norms.FrozenBatchNorm, FrozenBatchNorm2d, 8)


def pairs_with_timm() -> Iterator[Pair]:
    from timm import layers
    from timm.layers.grn import GlobalResponseNorm

    single = {"dtype": torch.float32}
    in_groups = partial(norms.EvoNormS0, num_groups=2)
    response = layers.FilterResponseNormTlu2d
    b0, s0 = layers.EvoNorm2dB0, layers.EvoNorm2dS0
    yield pair_of("layer", norms.LayerNorm, layers.GroupNorm1, 8)
    yield pair_of("layer_per_pixel", norms.LayerNormPerPixel, layers.LayerNorm2d, 8)
    yield pair_of("rms", norms.RMSNorm, layers.RmsNorm2d, 8)
    yield pair_of(
        "global_response",
        norms.GlobalResponseNorm,
        GlobalResponseNorm,
        8,
        channels_last=False,
    )
    yield pair_of(
        "filter_response", norms.FilterResponseNorm, response, 8, eps=1e-6, **single
    )
    yield pair_of("evonorm_b0", norms.EvoNormB0, b0, 8, eps=1e-5, **single)
    yield pair_of("evonorm_s0 num_groups=2", in_groups, s0, 8, groups=2, **single)


def pairs_with_x_transformers() -> Iterator[Pair]:
    with warnings.catch_warnings():
        # It scripts a function when it is imported, which PyTorch deprecates.
        warnings.filterwarnings("ignore", "`torch.jit.script`", FutureWarning)
        from x_transformers import x_transformers as others

    plain = partial(norms.RMSNorm, eps=0.0, affine=False)
    yield pair_of("rms affine=false", plain, others.SimpleRMSNorm, 8, shape=VECTORS)
    tanh, erf = norms.DynamicTanh, norms.DynamicErf
    yield pair_of("dynamic_tanh", tanh, others.DynamicTanh, 8, shape=VECTORS)
    yield pair_of("derf", erf, others.Derf, 8, shape=VECTORS)


def pairs_with_torchrl() -> Iterator[Pair]:
    # The package imports much more than this file, which needs PyTorch alone.
    [folder] = find_spec("torchrl").submodule_search_locations
    file = Path(folder) / "modules" / "models" / "batchrenorm.py"
    theirs = run_path(str(file), run_name="torchrl")["BatchRenorm1d"]
    for steps in (0, 60):
        options = {"momentum": 0.1, "warmup_steps": steps}
        ours = partial(norms.BatchRenorm, ramp_steps=0, **options)
        name = f"batch_renorm warmup_steps={steps} ramp_steps=0"
        yield pair_of(name, ours, theirs, 8, shape=VECTORS, **options)


def pairs_with_pytorch_tabnet() -> Iterator[Pair]:
    from pytorch_tabnet.tab_network import GBN

    for size in (3, 6):
        ours = partial(norms.GhostBatchNorm, size=size)
        options = {"virtual_batch_size": size, "momentum": 0.1}
        pair = pair_of(f"ghost size={size}", ours, GBN, 8, shape=VECTORS, **options)
        yield replace(pair, same_averages=size == VECTORS[0])


def measure(pair: Pair, updates: tuple[int, ...] = UPDATES) -> Differences:
    """Compare the layers of a pair, over as many batches as the last of the updates.

    Args:
        pair: the layers.
        updates: numbers of batches after which running statistics are compared.
    """
    generator = torch.Generator().manual_seed(0)
    ours = pair.ours().to(pair.dtype)
    theirs = pair.theirs().to(pair.dtype)
    randomize(ours, generator)
    copy_state(ours, theirs)
    found = Differences()
    for number in range(1, updates[-1] + 1):
        x = drifting(number, pair, generator)
        dy = torch.randn(pair.shape, generator=generator, dtype=pair.dtype)
        compare_step(step(ours, x, dy), step(theirs, x, dy), found)
        has_averages = pair.same_averages and bool(averages(ours, theirs))
        if number in updates and has_averages:
            found.statistics.append(largest(averages(ours, theirs)))
    if pair.same_averages:
        found.evaluation = largest([(ours.eval()(x), theirs.eval()(x))])
    return found


def drifting(number: int, pair: Pair, generator: torch.Generator) -> Tensor:
    """A batch whose mean and deviation grow from one batch to the next."""
    x = torch.randn(pair.shape, generator=generator, dtype=pair.dtype)
    return x * (1 + number / 50) + number / 25


@torch.no_grad()
def randomize(layer: nn.Module, generator: torch.Generator) -> None:
    """Draw parameters and statistics; variances are positive."""
    for name, tensor in layer.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            is_variance = name.endswith("var")
            tensor.copy_(values.abs() + 0.5 if is_variance else values)


@torch.no_grad()
def copy_state(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy parameters in their order, and buffers by their names."""
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.copy_(own.view_as(other))
    buffers = buffers_of(theirs)
    for name, own in ours.named_buffers():
        if name in buffers:
            buffers[name].copy_(own)


def buffers_of(layer: nn.Module) -> dict[str, Tensor]:
    """The buffers of a layer and of those inside of it, by their own names."""
    return {path.rpartition(".")[2]: value for path, value in layer.named_buffers()}


def step(
    layer: nn.Module, x: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output, input gradient and parameter gradients of one batch."""
    inputs = x.clone().requires_grad_()
    y = layer(inputs)
    wanted = [inputs, *layer.parameters()]
    input_gradient, *gradients = torch.autograd.grad(y, wanted, dy)
    return y.detach(), input_gradient, gradients


def compare_step(ours: Any, theirs: Any, found: Differences) -> None:
    """Raise the differences to those of one batch."""
    found.output = max(found.output, largest([(ours[0], theirs[0])]))
    found.input_gradient = max(found.input_gradient, largest([(ours[1], theirs[1])]))
    if ours[2]:
        gradients = list(zip(ours[2], theirs[2], strict=True))
        before = found.parameter_gradients or 0.0
        found.parameter_gradients = max(before, largest(gradients))


def averages(ours: nn.Module, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Running statistics that both layers have and that move."""
    if not hasattr(ours, "momentum"):
        return []
    others = buffers_of(theirs)
    both = []
    for name, own in ours.named_buffers():
        if name in others and own.is_floating_point():
            both.append((own, others[name]))
    return both


def largest(tensors: list[tuple[Tensor, Tensor]]) -> float:
    """The largest absolute difference between tensors of equal size."""
    found = 0.0
    for own, other in tensors:
        difference = own - other.view_as(own)
        found = max(found, difference.abs().max().item())
    return found


def short(value: float | None) -> str:
    """A difference with one digit."""
    if value is None:
        return "-"
    return f"{value:.0e}" if value else "0"


def row(pair: Pair) -> str:
    """The row of a pair."""
    found = measure(pair)
    single = [found.output, found.input_gradient, found.parameter_gradients]
    cells = [short(value) for value in [*single, found.evaluation]]
    statistics = " / ".join(short(value) for value in found.statistics)
    axes = str(len(pair.shape))
    dtype = str(pair.dtype).removeprefix("torch.")
    start = [f"`{pair.norm}`", pair.other, axes, dtype]
    return f"| {' | '.join([*start, *cells, statistics or '-'])} |"


def table() -> str:
    """Measure all pairs."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    lines += [row(pair) for pair in pairs()]
    return "\n".join(lines)


def write_page() -> None:
    """Measure, and write docs/reference/norms/agreement.md."""
    named = [with_version(name) for name in PACKAGES]
    text = PAGE.format(packages=", ".join(named), table=table())
    write_if_changed(FILE, text)


def with_version(package: str) -> str:
    """The name of a package and its version, if it is installed."""
    try:
        return f"{package} {version(package).partition('+')[0]}"
    except PackageNotFoundError:
        return f"{package} (not installed)"
