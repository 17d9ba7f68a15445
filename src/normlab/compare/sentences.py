"""Numbers as people read them."""

import math

from normlab.metrics import higher_is_better

NO_NUMBER = "–"
ROUNDING = 1e-12  # smaller differences of scores come from their last digits


def number(value: float | None) -> str:
    """A number as text, a dash for none.

    Numbers of about 1 get four decimals, larger ones four digits, small ones two.
    """
    if value is None or math.isnan(value):
        return NO_NUMBER
    size = abs(value)
    if value == 0 or 0.001 <= size < 100:
        return f"{value:.4f}"
    if 1e-6 <= size < 0.001:
        exponent = math.floor(math.log10(size))
        return f"{value:.{1 - exponent}f}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def signed(value: float) -> str:
    """`+0.0123`, with a true minus sign; a dash for NaN.

    What is only rounding is zero and has no sign.
    """
    if math.isnan(value):
        return NO_NUMBER
    if abs(value) < ROUNDING:
        return number(0.0)
    sign = "−" if value < 0 else "+"
    return sign + number(abs(value))


def percent(share: float) -> str:
    """`95%`, with decimals if the share is near 0 or 1: `99.9%`, `0.01%`.

    Two digits of the rarer side are shown; a dash stands for NaN.
    """
    if math.isnan(share):
        return NO_NUMBER
    decimals = 0
    rarer = min(share, 1 - share)
    if rarer > 0:
        exponent = math.floor(math.log10(rarer))
        decimals = max(0, -1 - exponent)
    digits = f"{share:.{decimals}%}".removesuffix("%")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits}%"


def p_value(value: float) -> str:
    """`p = 0.031`, `p < 0.001`, or `no p-value` for NaN."""
    if math.isnan(value):
        return "no p-value"
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}"


def counted(count: int, what: str) -> str:
    """`1 run` or `3 runs`.

    Args:
        count: how many.
        what: the word for one of them, whose plural ends in s.
    """
    if count == 1:
        return f"1 {what}"
    return f"{count} {what}s"


def direction(metric: str) -> str:
    """`higher is better` or `lower is better`."""
    return "higher is better" if higher_is_better(metric) else "lower is better"
