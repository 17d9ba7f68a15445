"""Numbers and sentences as people read them.

More sentences are quoted in `test_contrasts.py`.
"""

import math

import numpy as np
import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.sentences import counted, number, p_value, percent, signed


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


def test_one_is_not_in_the_plural():
    assert counted(1, "run") == "1 run"
    assert counted(0, "run") == "0 runs"
    assert counted(12, "value") == "12 values"


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


@pytest.mark.parametrize("rounded", [0.0, -0.0, 5.551e-17, -2.2e-16])
def test_a_difference_by_rounding_is_zero_without_a_sign(rounded):
    assert signed(rounded) == "0.0000"


def test_arms_that_never_differ(tmp_path):
    values = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]
    write_seeds(tmp_path, {"torch": values, "custom": values})
    told = compare(load_runs(tmp_path), baseline="torch").contrasts["sentence"][0]
    assert told == (
        "custom and torch have the same test/accuracy in each of 6 pairs with the "
        "same seed; up to 39% of pairs could still differ."
    )


def test_arms_that_never_differ_can_be_equivalent(tmp_path):
    values = list(np.linspace(0.90, 0.94, 20))
    write_seeds(tmp_path, {"torch": values, "custom": values})
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.006)
    row = found.contrasts.iloc[0]
    # (1 − 0.006 / 0.04)^20 = 0.039
    assert (row["verdict"], row["equivalence_p"]) == (
        "equivalent",
        pytest.approx(0.85**20),
    )
    assert row["sentence"] == (
        "custom and torch have the same test/accuracy in each of 20 pairs with the "
        "same seed; up to 14% of pairs could still differ. They are equivalent within "
        "±0.0060, provided that the runs of such a pair lie no further apart than "
        "these runs do (p = 0.039)."
    )
    narrow = compare(load_runs(tmp_path), baseline="torch", margin=0.005).contrasts
    assert narrow["verdict"][0] == "not told apart"


def test_an_improvement_in_most_pairs_is_meaningful(tmp_path):
    none = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    gains = {
        "none": [0.0] * 10,
        "custom": [3.0] * 10,
        "torch": [-20.0] * 9 + [0.0],
        "ghost": [2.0] * 8 + [-0.1] * 2,
    }
    arms = {}
    for arm, gain in gains.items():
        arms[arm] = [value + more for value, more in zip(none, gain, strict=True)]
    write_seeds(tmp_path, arms)
    rows = compare(load_runs(tmp_path)).contrasts.set_index("arm")
    assert rows["improvement"].tolist() == pytest.approx([1.0, 0.8, 0.05])
    assert rows.loc["custom", "sentence"].endswith(
        " It is meaningful: custom is the better one in 10 of 10 pairs (P(better) 95 % "
        "interval 0.69 to 1.00)."
    )
    assert rows.loc["torch", "sentence"].endswith(
        " It is meaningful: none is the better one in 9 of 10 pairs, with 1 tie "
        "(P(better) 95 % interval 0.62 to 1.00)."
    )
    # Eight wins of ten leave 0.44 to 0.97, which holds one half.
    assert rows.loc["ghost", "verdict"] == "better"
    assert "meaningful" not in rows.loc["ghost", "sentence"]


def test_a_meaningful_difference_of_independent_runs(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "none", seed, 0.1 * seed)
        write_run(tmp_path, "custom", seed + 100, 0.1 * seed + 0.85)
    (told,) = compare(load_runs(tmp_path)).contrasts["sentence"]
    assert told.endswith(
        " It is meaningful: of the comparisons of one run with another, custom wins "
        "99% (95 % interval 0.68 to 1.00)."
    )
