"""What a layer calls its scale, its shift and its running statistics.

The norms of this project have PyTorch's names; other people's have those of papers,
books and other libraries.
"""

from collections.abc import Iterable

from torch import Tensor, nn

SCALES = ("weight", "gamma", "scale", "g", "w", "gain")
SHIFTS = ("bias", "beta", "shift", "b", "offset")
MEANS = (
    *("running_mean", "moving_mean", "running_mu", "moving_avg_mean", "global_mean"),
    *("ema_mean", "mean_ema", "pop_mean", "population_mean", "mean"),
)
VARIANCES = (
    *("running_var", "moving_var", "running_variance", "moving_variance"),
    *("moving_avg_var", "global_var", "ema_var", "var_ema", "pop_var"),
    *("population_var", "var"),
)


def scale_of(layer: nn.Module, recurse: bool = True) -> Tensor | None:
    """The learned factor of a layer; None if it has none.

    Args:
        layer: a norm.
        recurse: whether to look into the layers inside of it, too.
    """
    return _named(layer.named_parameters(recurse=recurse), SCALES)


def shift_of(layer: nn.Module, recurse: bool = True) -> Tensor | None:
    """The learned summand, see `scale_of`."""
    return _named(layer.named_parameters(recurse=recurse), SHIFTS)


def running_mean_of(layer: nn.Module) -> Tensor | None:
    """The buffer in which a layer averages means."""
    return _named(layer.named_buffers(), MEANS)


def running_var_of(layer: nn.Module) -> Tensor | None:
    """The buffer in which a layer averages variances."""
    return _named(layer.named_buffers(), VARIANCES)


def _named(
    tensors: Iterable[tuple[str, Tensor]], names: Iterable[str]
) -> Tensor | None:
    by_name: dict[str, Tensor] = {}
    for path, tensor in tensors:
        name = path.rpartition(".")[2].lower()
        by_name.setdefault(name, tensor)
    for name in names:
        if name in by_name:
            return by_name[name]
    return None
