"""Every arm at its best value: the choice, its budget, and the seeds that test it."""

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs

RATES = (0.001, 0.003, 0.01, 0.1, 1.0, 10.0)
GRID = (0.01, 0.1, 1.0)
SEEDS = range(6)
NOISE = 0.001 * np.array([0.3, -0.8, 0.5, -0.2, 0.9, -0.5, 0.1, -0.4, 0.6])


def score(norm, lr, seed):
    """none is best at 0.1, and custom at 1, where it is better by 0.02."""
    best = {"none": 0.1, "custom": 1.0}[norm]
    loss = 0.01 * abs(np.log10(lr / best))
    sign = 1 if norm == "none" else -1
    return 0.9 + 0.02 * (norm == "custom") - loss + sign * NOISE[seed]


@pytest.fixture(scope="module")
def every_run(tmp_path_factory):
    """More rates and seeds than a test needs."""
    folder = tmp_path_factory.mktemp("runs")
    for norm in ("none", "custom"):
        for lr in RATES:
            for seed in range(9):
                settings = {"optimizer.lr": lr}
                write_run(folder, norm, seed, score(norm, lr, seed), settings=settings)
    return load_runs(folder)


def part(runs, norm, rates, seeds=SEEDS):
    chosen = runs["optimizer.lr"].isin(rates) & runs["seed"].isin(seeds)
    return runs[chosen & (runs["norm"] == norm)]


@pytest.fixture
def runs(every_run):
    """Three rates and six seeds of both arms."""
    arms = [part(every_run, norm, GRID) for norm in ("none", "custom")]
    return pd.concat(arms, ignore_index=True)


@pytest.fixture
def tests(every_run):
    """Three other seeds of both arms at their best rates."""
    arms = [
        part(every_run, "none", [0.1], range(6, 9)),
        part(every_run, "custom", [1.0], range(6, 9)),
    ]
    return pd.concat(arms, ignore_index=True)


def is_run(runs, norm, lr, seed):
    same = (runs["norm"] == norm) & (runs["seed"] == seed)
    return same & (runs["optimizer.lr"] == lr)


def row(found):
    return found.contrasts.iloc[0]


def test_the_sentence_names_what_was_chosen_and_from_how_many(runs):
    found = compare(runs, select="optimizer.lr")
    gain = 0.02 - 2 * NOISE[:6].mean()
    assert row(found)["difference"] == pytest.approx(gain)
    assert row(found)["sentence"].endswith(
        " Best optimizer.lr by val/accuracy: 1 for custom (3 values tried), 0.1 for "
        "none (3 values tried); chosen and tested on the same seeds."
    )


@pytest.mark.parametrize("status", [None, "failed"])
def test_a_grid_that_lacks_a_run_is_refused_unless_asked(runs, status):
    lacking = is_run(runs, "custom", 1.0, 2)
    if status is None:
        runs = runs[~lacking]
    else:
        runs.loc[lacking, "status"] = status
    with pytest.raises(ValueError) as error:
        compare(runs, select="optimizer.lr")
    assert str(error.value) == (
        "select must have a complete grid from which to choose optimizer.lr, but "
        "custom lacks 1 of 18 runs (optimizer.lr=1 seed=2): train these runs "
        "(retry=failed for those that failed), or choose without them by `incomplete`"
    )
    found = compare(runs, select="optimizer.lr", incomplete=True)
    # The missing run does not change the choice.
    assert set(found.runs.groupby("arm")["optimizer.lr"].first()) == {0.1, 1.0}
    assert (
        "the grid is incomplete, custom lacks 1 of 18 runs (optimizer.lr=1 seed=2); "
        "chosen"
    ) in row(found)["sentence"]
    assert any(
        "best mean val/accuracy of the 3 values that were tried and is used, but runs "
        "are missing" in line
        for line in found.warnings
    )


@pytest.mark.parametrize(("count", "end"), [(3, ""), (4, ", …")])
def test_three_missing_runs_are_named(runs, count, end):
    at_best = (runs["norm"] == "custom") & (runs["optimizer.lr"] == 1.0)
    lacking = at_best & (runs["seed"] < count)
    with pytest.raises(ValueError) as error:
        compare(runs[~lacking], select="optimizer.lr")
    named = ", ".join(f"optimizer.lr=1 seed={seed}" for seed in range(3))
    told = f"custom lacks {count} of 18 runs ({named}{end}): train these runs"
    assert told in str(error.value)


def test_a_diverged_run_is_part_of_a_complete_grid(runs):
    runs.loc[is_run(runs, "custom", 1.0, 2), "status"] = "diverged"
    found = compare(runs, select="optimizer.lr")
    # A value at which nothing diverged comes before one with a better mean.
    assert found.choice is not None
    assert {arm.arm: arm.value for arm in found.choice.arms} == {
        "custom": "0.1",
        "none": "0.1",
    }


def test_the_words_of_a_choice_have_every_digit(tmp_path):
    for norm in ("none", "custom"):
        for lr in (0.01, 0.03162278):
            for seed in range(3):
                settings = {"optimizer.lr": lr}
                write_run(tmp_path, norm, seed, 0.9 + lr, settings=settings)
    found = compare(load_runs(tmp_path), select="optimizer.lr")
    words = [arm.overrides for arm in found.choice.arms]
    assert words == [
        ["norm=custom", "optimizer.lr=0.03162278"],
        ["norm=none", "optimizer.lr=0.03162278"],
    ]


def test_other_seeds_test_what_was_chosen(runs, tests):
    both = pd.concat([runs, tests])
    found = compare(both, select="optimizer.lr", confirm="range(6,9)")
    assert sorted(set(found.runs["seed"])) == [6, 7, 8]
    gain = 0.02 - 2 * NOISE[6:].mean()
    assert row(found)["difference"] == pytest.approx(gain)
    assert row(found)["sentence"].endswith("; these seeds had no part in the choice.")
    assert len(found.candidates.runs) == 36


def test_the_choice_does_not_see_the_seeds_of_the_test(runs, tests):
    # Far worse at the best rates of the other seeds.
    for column in ("val/accuracy", "test/accuracy"):
        tests[column] = np.where(tests["norm"] == "none", 0.5, 0.4)
    both = pd.concat([runs, tests])
    found = compare(both, select="optimizer.lr", confirm=[6, 7, 8])
    assert row(found)["difference"] == pytest.approx(-0.1)


def test_without_runs_of_the_test_they_are_named(runs):
    with pytest.raises(ValueError) as error:
        compare(runs, select="optimizer.lr", confirm="6,7")
    assert str(error.value) == (
        "confirm must name seeds with runs at the chosen values, and seed=6,7 has "
        "none: train norm=custom optimizer.lr=1; norm=none optimizer.lr=0.1, each "
        "with seed=6,7"
    )


def test_missing_runs_of_the_test_are_named(runs, tests):
    both = pd.concat([runs, tests[~is_run(tests, "custom", 1.0, 8)]])
    found = compare(both, select="optimizer.lr", confirm="range(6,9)")
    assert (
        "custom: 1 of 3 runs that test the chosen value are missing: norm=custom "
        "optimizer.lr=1 seed=8."
    ) in found.warnings


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        (
            (0.001, 0.003, 0.01, 0.1, 1.0),
            "custom and none were searched differently: 5 values of optimizer.lr were "
            "tried for custom (0.001, 0.003, 0.01, 0.1, 1) and 3 for none (0.01, 0.1, "
            "1); the larger grid favours its arm, at equal merit.",
        ),
        (
            (0.1, 1.0, 10.0),
            "custom and none were searched differently: 3 values of optimizer.lr were "
            "tried for custom (0.1, 1, 10) and 3 for none (0.01, 0.1, 1); a grid that "
            "lies nearer to its best value favours its arm.",
        ),
    ],
)
def test_unequal_grids_are_a_caution(every_run, rates, text):
    arms = [part(every_run, "none", GRID), part(every_run, "custom", rates)]
    found = compare(pd.concat(arms), select="optimizer.lr")
    assert text in found.warnings
    check = found.checks[-1]
    assert (check.name, check.result) == ("tried values of optimizer.lr", "different")


def test_equal_grids_are_no_caution(runs):
    found = compare(runs, select="optimizer.lr")
    check = found.checks[-1]
    assert check.message == "custom and none were tried at the same 3 values of " + (
        "optimizer.lr."
    )
    assert (check.result, check.warns) == ("the same", False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confirm": "3"}, "confirm must come with `select`"),
        ({"incomplete": True}, "incomplete must come with `select`"),
        (
            {"select": "optimizer.lr", "confirm": "3-5"},
            "confirm must be seeds such as 10,11,12 or range(10,20), got 3-5",
        ),
        (
            {"select": "optimizer.lr", "confirm": "range(6)"},
            "confirm must leave seeds that choose the values; all runs have one of",
        ),
    ],
)
def test_mistakes_are_explained(runs, options, message):
    with pytest.raises(ValueError) as error:
        compare(runs, **options)
    assert str(error.value).startswith(message)


def test_no_value_is_best_where_every_run_diverged(runs):
    lost = runs["norm"] == "custom"
    runs.loc[lost, "status"] = "diverged"
    runs.loc[lost, ["val/accuracy", "test/accuracy"]] = np.nan
    found = compare(runs, select="optimizer.lr").warnings
    (line,) = [text for text in found if text.startswith("custom: ")]
    assert line.startswith("custom: no run finished at any of the 3 values of ")


def test_an_arm_without_the_setting_needs_seeds_of_the_test_only(runs, tests):
    no_choice = tests[tests["norm"] == "none"].assign(**{"optimizer.lr": np.nan})
    both = pd.concat([runs[runs["norm"] == "custom"], tests[tests["norm"] == "custom"]])
    both = pd.concat([both, no_choice])
    found = compare(both, select="optimizer.lr", confirm="range(6,9)")
    assert sorted(set(found.runs["norm"])) == ["custom", "none"]
    assert row(found)["n"] == 3


def test_an_arm_without_seeds_that_choose_is_named(runs, tests):
    both = pd.concat([runs[runs["norm"] == "custom"], tests])
    message = "on which every arm chooses optimizer.lr; all runs of none have one of 6"
    with pytest.raises(ValueError, match=message):
        compare(both, select="optimizer.lr", confirm="range(6,9)")


def test_a_failed_run_of_an_arm_without_the_setting_leaves_the_choice(runs, tests):
    tests = tests.reset_index(drop=True)
    nothing_to_choose = tests["norm"] == "none"
    tests.loc[nothing_to_choose, "optimizer.lr"] = np.nan
    tests.loc[nothing_to_choose & (tests["seed"] == 7), "status"] = "failed"
    both = pd.concat([runs[runs["norm"] == "custom"], tests])
    found = compare(both, select="optimizer.lr", confirm="range(6,9)")
    assert sorted(set(found.runs["norm"])) == ["custom", "none"]


def test_a_grid_without_seeds_that_choose_is_refused(tests):
    tests.loc[tests["norm"] == "none", "optimizer.lr"] = np.nan
    with pytest.raises(ValueError, match="^confirm must leave seeds that choose"):
        compare(tests, select="optimizer.lr", confirm="range(6,9)")
