"""The rules that turn the numbers of a comparison into a verdict."""

import numpy as np
import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.study.rules import judge

NOISE = 0.001 * np.array([0.3, -0.8, 0.5, -0.2, 0.9, -0.5, 0.1, -0.4, 0.6, -0.5])


def test_claims_of_equality_need_no_correction(tmp_path):
    for seed in range(10):
        gain = 0.007 + 8.5 * NOISE[seed]
        for norm, value in (
            ("torch", 0.9),
            ("custom", 0.9 + gain),
            ("ghost", 0.9 + gain),
        ):
            write_run(tmp_path, norm, seed, value)
    comparison = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    once, corrected = (
        comparison.contrasts["equivalence_p"].iloc[0],
        comparison.contrasts["equivalence_p_holm"].iloc[0],
    )
    assert once < 0.05 < corrected
    assert judge(comparison, "equal", 10) == (
        "supported",
        (
            f"every difference is inside ±0.0100 by two one-sided tests, the largest "
            f"p = {once:.3f}."
        ),
    )


@pytest.fixture
def gain(tmp_path):
    """custom is better than torch by 0.02 in ten seeds."""
    write_seeds(tmp_path, {"torch": 0.95 + NOISE, "custom": 0.97 - NOISE})
    return compare(load_runs(tmp_path), baseline="torch", margin=0.005)


def test_a_direction_is_supported_by_a_significant_difference(gain):
    sentence = gain.contrasts["sentence"][0]
    assert judge(gain, "higher", 10) == ("supported", sentence)
    assert judge(gain, "lower", 10) == ("contradicted", sentence)
    assert judge(gain, "equal", 10) == ("contradicted", sentence)


def test_arms_without_runs_cannot_be_judged(gain):
    assert judge(gain, "higher", 10, ["custom", "ghost", 8]) == (
        "cannot tell",
        "there are no runs of ghost, 8 beside the baseline",
    )


def test_too_few_seeds_cannot_be_judged(gain):
    assert judge(gain, "higher", 11) == (
        "cannot tell",
        "custom against torch has 10 of 11 seeds",
    )
