"""The space of a search: from Hydra's syntax to Optuna's distributions and back."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from normlab.config.identity import NOT_PART_OF_THE_RESULT
from normlab.sweeps.grid import last_overrides
from normlab.terminal import print_line

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
Space = dict[str, Distribution]


def split(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """Split overrides into those that vary and those that are fixed.

    Args:
        overrides: parsed overrides. If a key occurs twice, the later one holds.

    Returns:
        the space, and the fixed overrides.

    Raises:
        ValueError: no override varies, or one varies in a way that cannot be searched.
    """
    last = last_overrides(overrides).values()
    space: Space = {}
    fixed = []
    for override in last:
        key = override.get_key_element()
        if override.is_sweep_override():
            space[key] = _distribution(key, override)
        else:
            fixed.append(str(override.input_line))
    if not space:
        raise ValueError(
            "a search needs a setting to vary, on the command line or in "
            "hydra.sweeper.params: 'optimizer.lr=tag(log, interval(0.001, 1))'"
        )
    for override in last:
        key = override.get_key_element()
        _check_key(key, varies=key in space)
    return space, fixed


def _check_key(key: str, varies: bool) -> None:
    name = key.lstrip("+~")
    if name == "seed":
        raise ValueError(
            "seed is not set in a search: hydra.sweeper.seeds=[0,1,2] names the seeds "
            "of every trial"
        )
    if varies and name.split(".")[0] in NOT_PART_OF_THE_RESULT:
        raise ValueError(f"{name} does not change a result and cannot be searched over")


def _distribution(key: str, override: Override) -> Distribution:
    """The distribution of one key."""
    value = override.value()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        names = ", ".join(sorted(tags))
        raise ValueError(f"{key}: tag(...) must be tag(log, ...), got {names}")
    log = "log" in tags
    if isinstance(value, IntervalSweep):
        return _interval(key, value, log)
    if isinstance(value, RangeSweep):
        return _range(key, value, log)
    if log:
        raise ValueError(
            f"{key}: tag(log, ...) needs numbers in an interval(...) or a range(...), "
            f"got a choice"
        )
    choices: list[Any] = list(override.sweep_iterator(transformer=_stored_choice))
    if not choices:
        raise ValueError(
            f"{key} must have a value to choose, {override.input_line!r} has none"
        )
    return CategoricalDistribution(_different(choices, str(override.input_line)))


def _different(choices: list[Any], text: str) -> list[Any]:
    """Every choice once: a repeated one would be tried more often than the others.

    Args:
        choices: values, of which 1 and 1.0 are the same, but not true.
        text: the override, for a note about what is left out.
    """
    kept: dict[tuple[bool, Any], Any] = {}
    for choice in choices:
        kept.setdefault((isinstance(choice, bool), choice), choice)
    repeated = len(choices) - len(kept)
    if repeated:
        print_line(f"note: {text} repeats {repeated} of its values; each is one choice")
    return list(kept.values())


def _stored_choice(value: Any) -> bool | int | float | str:
    """A choice as Optuna stores it.

    Numbers and truth values stay as they are. Everything else is spelled as in an
    override.
    """
    if isinstance(value, bool | int | float):
        return value
    return Transformer.str(value)


def _interval(key: str, interval: IntervalSweep, log: bool) -> Distribution:
    low = interval.start
    high = interval.end
    if low is None or high is None or not low < high:
        raise ValueError(
            f"{key}: interval(low, high) must rise, got interval({low}, {high})"
        )
    if log:
        _check_positive(key, low)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _range(key: str, given: RangeSweep, log: bool) -> Distribution:
    """The distribution of a range, which ends before its stop as it does in a grid."""
    # Decimals, since 0.1 + 0.1 + 0.1 is not 0.3 in binary.
    start = Decimal(str(given.start))
    stop = Decimal(str(given.stop))
    step = Decimal(str(given.step))
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise ValueError(
            f"{key}: range(start, stop, step) must hold a value, "
            f"got range({start}, {stop}, {step})"
        )
    last = start + (count - 1) * step
    low = min(start, last)
    high = max(start, last)
    size = abs(step)
    numbers = (given.start, given.stop, given.step)
    whole = all(isinstance(number, int) for number in numbers)
    if log:
        _check_positive(key, low)
        if size != 1:
            raise ValueError(
                f"{key}: tag(log, ...) needs an interval(...) or a range(...) "
                f"of step 1, got step {step}"
            )
        if not whole:
            raise ValueError(
                f"{key}: tag(log, ...) needs an interval(...) or a range(...) of "
                f"whole numbers"
            )
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=int(size))
    return FloatDistribution(float(low), float(high), step=float(size))


def _check_positive(key: str, low: float | Decimal) -> None:
    if low <= 0:
        raise ValueError(f"{key}: tag(log, ...) needs numbers above 0, got {low}")


def describe(distribution: Distribution) -> str:
    """A distribution in Hydra's syntax; equal distributions have equal descriptions."""
    if isinstance(distribution, CategoricalDistribution):
        choices = ",".join(map(_text, distribution.choices))
        return choices if len(distribution.choices) > 1 else f"choice({choices})"
    low = distribution.low
    high = distribution.high
    if isinstance(distribution, FloatDistribution):
        text = f"interval({low}, {high})"
        if distribution.step is not None:
            step = distribution.step
            stop = Decimal(str(high)) + Decimal(str(step))
            text = f"range({low}, {float(stop)}, {step})"
    else:
        text = f"int(interval({low}, {high}))"
        if distribution.step != 1:
            text = f"range({low}, {high + distribution.step}, {distribution.step})"
    return f"tag(log, {text})" if distribution.log else text


def words(params: Mapping[str, Any]) -> list[str]:
    """The overrides `key=value` of sampled values."""
    return [f"{key}={_text(value)}" for key, value in params.items()]


def _text(value: Any) -> str:
    text = str(value)
    if isinstance(value, bool):
        return text.lower()
    return text


def probes(space: Space) -> list[list[str]]:
    """A few points of the space, for a check before the search.

    Every choice and both ends of every range of numbers occur in at least one of them.

    Returns:
        the overrides of every point.
    """
    values: dict[str, list[Any]] = {}
    for key, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            values[key] = list(distribution.choices)
        else:
            values[key] = [distribution.low, distribution.high]
    points = []
    for index in range(max(map(len, values.values()))):
        point = {}
        for key, ends in values.items():
            point[key] = ends[index % len(ends)]
        points.append(words(point))
    return points
