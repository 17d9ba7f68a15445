"""Normalization in its right form and in the wrong forms that people write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

Axes = Callable[[int], tuple[int, ...]]  # axes of the statistics, by number of axes


def over_batch(ndim: int) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, ndim))


def over_sample(ndim: int) -> tuple[int, ...]:
    """All axes but that of the samples."""
    return tuple(range(1, ndim))


def over_positions(ndim: int) -> tuple[int, ...]:
    """The axes after the channels."""
    return tuple(range(2, ndim))


def over_channels(ndim: int) -> tuple[int, ...]:
    """The axis of the channels."""
    return (1,)


def over_last(ndim: int) -> tuple[int, ...]:
    """The last axis."""
    return (ndim - 1,)


def over_samples(ndim: int) -> tuple[int, ...]:
    """The axis of the samples alone."""
    return (0,)


def over_all_but_last(ndim: int) -> tuple[int, ...]:
    """All axes but the last."""
    return tuple(range(ndim - 1))


def over_everything(ndim: int) -> tuple[int, ...]:
    """All axes."""
    return tuple(range(ndim))


WORDS: dict[Axes, str] = {
    over_batch: "one pair for every channel",
    over_sample: "one pair for every sample",
    over_positions: "one pair for every channel of every sample",
    over_channels: "one pair for every position of every sample",
    over_last: "one pair for every row along the last axis",
    over_samples: "one pair for every position of every channel",
    over_all_but_last: "one pair for every place along the last axis",
    over_everything: "one pair for the whole batch",
}


@dataclass(frozen=True)
class Formula:
    """A way to normalize.

    Attributes:
        axes: which values share their statistics.
        groups: channels are divided into so many groups first; 0 does not.
        subtracts_mean: whether the numerator is centred.
        about_mean: whether the variance is that about the mean, not the mean square.
        divides: whether there is a denominator.
        takes_root: whether it is the deviation, not the variance.
        correction: the variance is a sum divided by n - correction.
        reads_memory: the first values in memory are taken for the first channel.
        detached: which statistics no gradient flows through, of "mean" and "var".
    """

    axes: Axes
    groups: int = 0
    subtracts_mean: bool = True
    about_mean: bool = True
    divides: bool = True
    takes_root: bool = True
    correction: int = 0
    reads_memory: bool = False
    detached: tuple[str, ...] = ()

    def __call__(self, x: Tensor, eps: float = 0.0) -> Tensor:
        """Normalize `x`, whose channels are on axis 1 if there are groups."""
        if not self.groups:
            return self._normalize(x, eps)
        parts = x.unflatten(1, (self.groups, -1))
        return self._normalize(parts, eps).flatten(1, 2)

    def _normalize(self, x: Tensor, eps: float) -> Tensor:
        axes = tuple(range(2, x.ndim)) if self.groups else self.axes(x.ndim)
        values = x
        if self.reads_memory:
            values = x.reshape(x.shape[1], -1).t().reshape(-1, *x.shape[1:2])
            values = values.view(-1, x.shape[1], *[1] * (x.ndim - 2))
        mean = values.mean(axes, keepdim=True)
        center = mean if self.about_mean else mean * 0
        squares = (values - center).square()
        count = values.numel() // mean.numel()
        var = squares.sum(axes, keepdim=True) / (count - self.correction)
        if "mean" in self.detached:
            mean = mean.detach()
        if "var" in self.detached:
            var = var.detach()

        y = x - mean if self.subtracts_mean else x
        if not self.divides:
            return y
        denominator = var + eps
        return y / (denominator.sqrt() if self.takes_root else denominator)

    def count(self, shape: tuple[int, ...]) -> int:
        """Number of values that share their statistics in input of a shape."""
        if self.groups:
            axes = tuple(range(2, len(shape)))
            n = shape[1] // self.groups
        else:
            axes = self.axes(len(shape))
            n = 1
        for axis in axes:
            n *= shape[axis]
        return n

    def differs_from(self, ndim: int, others: tuple["Formula", ...]) -> bool:
        """Whether its axes differ from those of the other formulas for this rank."""
        own = sorted(self.axes(ndim))
        return all(own != sorted(other.axes(ndim)) for other in others)


@dataclass(frozen=True)
class Slip:
    """A formula with one wrong statistic or one wrong line.

    Attributes:
        axes: which values share their statistics.
        compute: from input, axes and the correction of the variance to the output.
        correction: the variance is a sum divided by n - correction.
    """

    axes: Axes
    compute: Callable[[Tensor, tuple[int, ...], int], Tensor]
    correction: int = 0

    def __call__(self, x: Tensor, eps: float = 0.0) -> Tensor:
        """Normalize `x`."""
        return self.compute(x, self.axes(x.ndim), self.correction)


def _mean_of_all(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    return (x - x.mean()) / x.std(axes, keepdim=True, correction=correction)


def _mean_of_all_in_both(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    centred = x - x.mean()
    return centred / centred.square().mean(axes, keepdim=True).sqrt()


def _var_of_all(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    return (x - x.mean(axes, keepdim=True)) / x.std(correction=correction)


def _root_of_deviation(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    deviation = x.std(axes, keepdim=True, correction=correction)
    return (x - x.mean(axes, keepdim=True)) / deviation.sqrt()


def _sum_for_mean(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / centred.square().sum(axes, keepdim=True).sqrt()


def _division_first(x: Tensor, axes: tuple[int, ...], correction: int) -> Tensor:
    deviation = x.std(axes, keepdim=True, correction=correction)
    return x - x.mean(axes, keepdim=True) / deviation


SLIPS = (
    ("mean_of_all", _mean_of_all),
    ("mean_of_all", _mean_of_all_in_both),
    ("var_of_all", _var_of_all),
    ("root_of_deviation", _root_of_deviation),
    ("sum_for_mean", _sum_for_mean),
    ("division_first", _division_first),
)


def wrong_forms(
    right: tuple[Formula, ...], ndim: int
) -> Iterator[tuple[str, Formula | Slip]]:
    """Wrong forms of the formulas that would be right, with the names of their faults.

    Args:
        right: the formulas.
        ndim: number of axes of the input.
    """
    for formula in right:
        yield "unbiased_normalization", replace(formula, correction=1)
        if formula.subtracts_mean:
            yield "no_centering", replace(formula, subtracts_mean=False)
            no_mean = replace(formula, subtracts_mean=False, about_mean=False)
            yield "no_centering", no_mean
        else:
            yield "centering", replace(formula, subtracts_mean=True, about_mean=True)
        yield "no_root", replace(formula, takes_root=False)
        yield "no_root", replace(formula, takes_root=False, correction=1)
        yield "no_division", replace(formula, divides=False)
    if right[0].axes is over_batch and ndim > 2:
        yield "wrong_reshape", replace(right[0], reads_memory=True)
        yield "wrong_reshape", replace(right[0], reads_memory=True, correction=1)
    for axes in WORDS:
        if not axes(ndim):
            continue
        other = replace(right[0], axes=axes, groups=0)
        if right[0].groups or other.differs_from(ndim, right):
            yield "wrong_axes", other
            yield "wrong_axes", replace(other, correction=1)
    if right[0].subtracts_mean and not right[0].groups:
        for fault, compute in SLIPS:
            yield fault, Slip(right[0].axes, compute)
            yield fault, Slip(right[0].axes, compute, correction=1)
