"""Numbers and sentences as people read them.

More sentences are quoted in `test_contrasts.py`.
"""

import math

import pytest

from compare.helpers import write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.sentences import number, p_value, percent, signed


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.97654, "0.9765"),
        (0.0, "0.0000"),
        (12.5, "12.5000"),
        (123.456, "123.5"),
        (109_770.0, "109,770"),
        (0.000514, "0.00051"),
        (0.0000954, "0.000095"),
        (-0.000514, "-0.00051"),
        (3e-9, "3e-09"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        *(
            (0.95, "95%"),
            (0.9, "90%"),
            (2 / 3, "67%"),
            (1 - 0.005, "99.5%"),
            (1 - 0.015, "98.5%"),
            (0.5, "50%"),
        ),
        *(
            (1 - 0.001, "99.9%"),
            (1 - 0.9999, "0.01%"),
            (1 - 0.99999, "0.001%"),
            (1 - 1e-6, "99.9999%"),
        ),
        *((0.0, "0%"), (1.0, "100%"), (0.1, "10%"), (1 / 12, "8.3%"), (math.nan, "–")),
    ],
)
def test_shares(share, shown):
    assert percent(share) == shown


def test_signs_and_p_values():
    assert (signed(0.0123), signed(-0.0123), signed(math.nan)) == (
        "+0.0123",
        "−0.0123",
        "–",
    )
    assert (p_value(0.0312), p_value(0.0004), p_value(math.nan)) == (
        "p = 0.031",
        "p < 0.001",
        "no p-value",
    )


def test_arms_that_never_differ(tmp_path):
    values = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]
    write_seeds(tmp_path, {"torch": values, "custom": values})
    told = compare(load_runs(tmp_path), baseline="torch").contrasts["sentence"][0]
    assert told == (
        "custom and torch have the same test/accuracy in each of 6 pairs with the "
        "same seed."
    )


def test_an_improvement_in_three_of_four_runs_is_meaningful(tmp_path):
    none = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    arms = {"none": 0, "custom": 3, "torch": -20, "ghost": 0.25}
    write_seeds(
        tmp_path, {arm: [value + gain for value in none] for arm, gain in arms.items()}
    )
    rows = compare(load_runs(tmp_path), level=0.2).contrasts.set_index("arm")
    assert rows.loc["custom", "improvement"] == pytest.approx(
        31.5 / 36
    )  # 3.5 + 4.5 + 5.5 + 3 * 6
    assert rows.loc["ghost", "improvement"] == pytest.approx(21 / 36)
    assert rows.loc["custom", "sentence"].endswith(
        " It is meaningful: a run of custom beats one of none with probability 0.88."
    )
    assert rows.loc["torch", "sentence"].endswith(
        " It is meaningful: a run of none beats one of torch with probability 1.00."
    )
    assert rows.loc["ghost", "verdict"] == "better"
    assert "meaningful" not in rows.loc["ghost", "sentence"]
