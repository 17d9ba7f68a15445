"""Tests over folds against their formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from normlab.compare.folds import fold_difference, fold_equivalence_p

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


def test_no_p_below_six_folds():
    found = fold_difference(ARM[:5], BASELINE[:5], folds=5)
    assert math.isnan(found.p)
    assert math.isnan(fold_equivalence_p(found, 0.95, 0.1))


def test_folds_without_spread_have_the_smallest_p():
    found = fold_difference(np.full(7, 0.75), np.full(7, 0.5), folds=7)
    assert found.p == 2 / 2**7
    assert fold_difference(ARM, ARM, folds=7).p == 1
    assert math.isnan(fold_equivalence_p(found, 0.95, 0.1))


def test_fold_difference_by_the_formula():
    found = fold_difference(ARM, BASELINE, folds=7)
    differences = ARM - BASELINE
    t = differences.mean() / (differences.std(ddof=1) * math.sqrt(1 / 7 + 1 / 6))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 6))
    assert (
        found.p > stats.ttest_rel(ARM, BASELINE).pvalue
    )  # a plain t test takes the folds for independent


def test_fold_equivalence_uses_the_corrected_error():
    found = fold_difference(ARM, BASELINE, folds=7)
    differences = ARM - BASELINE
    error = differences.std(ddof=1) * math.sqrt(1 / 7 + 1 / 6)
    expected = stats.t.sf((0.05 - differences.mean()) / error, 6)
    assert fold_equivalence_p(found, 0.95, 0.05) == pytest.approx(expected)
