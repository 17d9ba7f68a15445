"""A search space in Hydra's override syntax: to Optuna's distributions, and from sampled values to overrides."""

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
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from normlab.config.identity import NOT_PART_OF_THE_RESULT

Space = dict[str, BaseDistribution]


def split(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """What is searched, by key, and the settings that stay as they are.

    Args:
        overrides: parsed; of two for the same key the later one holds.

    Raises:
        ValueError: an axis that no search can have, or none at all.
    """
    last = {override.get_key_element(): override for override in overrides}
    space = {
        key: _distribution(key, override)
        for key, override in last.items()
        if override.is_sweep_override()
    }
    if not space:
        raise ValueError(
            "a search needs a setting to vary, on the command line or in hydra.sweeper.params: "
            "'optimizer.lr=tag(log, interval(0.001, 1))'"
        )
    fixed = [override for override in last.values() if not override.is_sweep_override()]
    for key in last:
        _check_key(key, key in space)
    return space, [override.input_line for override in fixed]


def _check_key(key: str, varies: bool) -> None:
    name = key.lstrip("+~")
    if name == "seed":
        raise ValueError(
            "seed is not set in a search: hydra.sweeper.seeds=[0,1,2] names the seeds of every trial"
        )
    if varies and name.split(".")[0] in NOT_PART_OF_THE_RESULT:
        raise ValueError(f"{name} does not change a result and cannot be searched over")


def _distribution(key: str, override: Override) -> BaseDistribution:
    value = override.value()
    tags = getattr(value, "tags", set())
    if tags - {"log"}:
        raise ValueError(
            f"{key}: tag(...) must be tag(log, ...), got {', '.join(sorted(tags))}"
        )
    if isinstance(value, IntervalSweep):
        return _interval(key, value, bool(tags))
    if isinstance(value, RangeSweep):
        return _range(key, value, bool(tags))
    if tags:
        raise ValueError(
            f"{key}: tag(log, ...) needs numbers in an interval(...) or a range(...), got a choice"
        )
    choices = list(override.sweep_iterator(transformer=_plain))
    if not choices:
        raise ValueError(
            f"{key} must have a value to choose, {override.input_line!r} has none"
        )
    return CategoricalDistribution(choices)


def _plain(value: Any) -> Any:
    """A choice as Optuna stores it: numbers and truth values as they are, all else as an override would spell it."""
    return value if isinstance(value, bool | int | float) else Transformer.str(value)


def _interval(key: str, interval: IntervalSweep, log: bool) -> BaseDistribution:
    low, high = interval.start, interval.end
    if not low < high:
        raise ValueError(
            f"{key}: interval(low, high) must rise, got interval({low}, {high})"
        )
    _check_log(key, low, log)
    return (
        IntDistribution(low, high, log=log)
        if isinstance(low, int)
        else FloatDistribution(low, high, log=log)
    )


def _range(key: str, given: RangeSweep, log: bool) -> BaseDistribution:
    """As in Hydra, and therefore as in a grid, a range ends before its stop."""
    start, stop, step = (
        Decimal(str(value)) for value in (given.start, given.stop, given.step)
    )
    count = math.ceil((stop - start) / step) if step else 0
    if count < 1:
        raise ValueError(
            f"{key}: range(start, stop, step) must hold a value, got range({start}, {stop}, {step})"
        )
    low, high = sorted((start, start + (count - 1) * step))
    _check_log(key, low, log)
    if log and abs(step) != 1:
        raise ValueError(
            f"{key}: tag(log, ...) needs an interval(...) or a range(...) of step 1, got step {step}"
        )
    if all(isinstance(value, int) for value in (given.start, given.stop, given.step)):
        return IntDistribution(int(low), int(high), log=log, step=int(abs(step)))
    if log:
        raise ValueError(
            f"{key}: tag(log, ...) needs an interval(...) or a range(...) of whole numbers"
        )
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def _check_log(key: str, low: float, log: bool) -> None:
    if log and low <= 0:
        raise ValueError(f"{key}: tag(log, ...) needs numbers above 0, got {low}")


def describe(distribution: BaseDistribution) -> str:
    """A distribution in Hydra's syntax, the same for two that are equal."""
    if isinstance(distribution, CategoricalDistribution):
        texts = ",".join(map(_text, distribution.choices))
        return texts if len(distribution.choices) > 1 else f"choice({texts})"
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, FloatDistribution):
        stop = None if step is None else float(Decimal(str(high)) + Decimal(str(step)))
        text = (
            f"interval({low}, {high})"
            if step is None
            else f"range({low}, {stop}, {step})"
        )
    else:
        text = (
            f"int(interval({low}, {high}))"
            if step == 1
            else f"range({low}, {high + step}, {step})"
        )
    return f"tag(log, {text})" if distribution.log else text


def words(params: Mapping[str, Any]) -> list[str]:
    """Sampled values as overrides."""
    return [f"{key}={_text(value)}" for key, value in params.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def probes(space: Space) -> list[list[str]]:
    """Overrides of a few points in which every choice and both ends of every number occur, for a check beforehand."""
    values = {
        key: list(one.choices)
        if isinstance(one, CategoricalDistribution)
        else [one.low, one.high]
        for key, one in space.items()
    }
    most = max(map(len, values.values()))
    return [
        words({key: ends[place % len(ends)] for key, ends in values.items()})
        for place in range(most)
    ]
