"""What an arm reaches with some values tried."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normlab.compare.budgets import budget_curves, chance_of_best
from normlab.compare.choices import Choice, Selection


def choice_of(scores, seeds=4, status=None):
    """A grid of one arm: `scores` by rate; the seeds add 0, 0.01, 0.02, ..."""
    rows = []
    for lr, score in scores.items():
        for seed in range(seeds):
            rows.append(
                {
                    "arm": "custom",
                    "seed": seed,
                    "optimizer.lr": lr,
                    "val/accuracy": score + 0.01 * seed,
                    "status": (status or {}).get(lr, "finished"),
                }
            )
    grid = pd.DataFrame(rows)
    selection = Selection("optimizer.lr", [], ["norm"], "test/accuracy")
    return Choice(selection, "val/accuracy", grid, grid, [])


@pytest.mark.parametrize("tried", [1, 2, 3, 4, 5])
def test_chances_are_those_of_all_draws(tried):
    draws = list(combinations(range(5), tried))
    counted = np.zeros(5)
    for draw in draws:
        counted[min(draw)] += 1  # the best value comes first
    assert chance_of_best(5, tried) == pytest.approx(counted / len(draws))


def test_the_curve_is_the_mean_over_all_draws():
    random = np.random.default_rng(3)
    values = random.uniform(0.5, 0.9, 6)
    curve = budget_curves(choice_of(dict(enumerate(values))), 0.95)
    for tried, score in zip(curve["tried"], curve["score"], strict=True):
        best = [max(draw) for draw in combinations(values + 0.015, tried)]
        assert score == pytest.approx(np.mean(best))
    assert curve["score"].iloc[-1] == pytest.approx(values.max() + 0.015)


def test_the_band_is_the_interval_over_seeds():
    curve = budget_curves(choice_of({0.1: 0.5, 1.0: 0.7}), 0.95)
    per_seed = np.array([0.6, 0.61, 0.62, 0.63])  # the mean of both values
    half = stats.t.ppf(0.975, 3) * per_seed.std(ddof=1) / 2
    row = curve.iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((0.615 - half, 0.615 + half))


def test_values_at_which_nothing_trains_count_as_tried():
    lost = choice_of({0.1: 0.5, 1.0: 0.7, 10.0: 0.9}, status={10.0: "diverged"})
    curve = budget_curves(lost, 0.95)
    assert curve["trains"].tolist() == pytest.approx([2 / 3, 1.0, 1.0])
    # One value: the mean of both that train. Two: the better one in two of three draws.
    expected = [0.615, (2 * 0.715 + 0.515) / 3, 0.715]
    assert curve["score"].tolist() == pytest.approx(expected)


def test_one_seed_has_no_band():
    curve = budget_curves(choice_of({0.1: 0.5, 1.0: 0.7}, seeds=1), 0.95)
    assert curve["low"].isna().all()
    assert curve["score"].tolist() == pytest.approx([0.6, 0.7])


def test_an_arm_may_lack_the_setting():
    first = choice_of({0.1: 0.5, 1.0: 0.6})
    second = choice_of({None: 0.7})
    lacking = second.grid.assign(arm="none").astype({"optimizer.lr": object})
    lacking["optimizer.lr"] = None
    grid = pd.concat([first.grid.astype({"optimizer.lr": object}), lacking])
    choice = Choice(first.selection, first.metric, grid, grid, [])
    curve = budget_curves(choice, 0.95)
    found = curve.set_index(["arm", "tried"])["score"]
    assert found["none", 1] == pytest.approx(0.715)
    assert found["custom", 2] == pytest.approx(0.615)
