"""Values that a claim chose, tested on seeds that had no part in the choice."""

import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.config.study_plan import check_plan
from normlab.study.confirmation import check_confirm_seeds, of_confirm_seeds
from normlab.study.definition import Study
from normlab.study.verdict import answer

GRID = {"norm": "none,custom", "optimizer.lr": "0.1,1.0", "seed": "range(3)"}
BEST = {"none": 0.1, "custom": 1.0}
PLAN = {
    "question": "Is it better at its best rate?",
    "by": "norm",
    "metric": "test/accuracy",
    "baseline": "none",
    "within": [],
    "minimum_seeds": 6,
    "confirm_seeds": "range(10,16)",
    "claims": [{"says": "Yes.", "select": "optimizer.lr", "expect": "higher"}],
}


def study(**changes):
    return Study("demo", PLAN | changes, "demo", GRID)


def write_grid(folder):
    for norm, best in BEST.items():
        for lr in (0.1, 1.0):
            for seed in range(3):
                value = 0.9 + 0.02 * (lr == best) + 0.001 * seed
                write_run(folder, norm, seed, value, settings={"optimizer.lr": lr})


def write_tests(folder, norm, seeds, gain=0.0):
    for seed in seeds:
        spread = 0.001 * (seed % 3) * (1 if norm == "none" else -1)
        settings = {"optimizer.lr": BEST[norm]}
        write_run(folder, norm, seed, 0.92 + gain + spread, settings=settings)


def test_the_runs_of_the_test_are_named_once_the_values_are_chosen(tmp_path):
    write_grid(tmp_path)
    write_tests(tmp_path, "none", range(10, 14))
    whole, claims, warnings = answer(study(), load_runs(tmp_path))
    assert whole == "cannot tell"
    assert claims[0].reason == (
        "the values of optimizer.lr are chosen, and 8 runs that test them on other "
        "seeds are still to be made: `python train.py -m study=demo norm=custom "
        "optimizer.lr=1 seed=10,11,12,13,14,15`; `python train.py -m study=demo "
        "norm=none optimizer.lr=0.1 seed=14,15`"
    )
    assert claims[0].comparison.runs["seed"].max() == 2
    assert not any("outside of the planned grid" in line for line in warnings)


@pytest.mark.parametrize(
    ("gain", "verdict"), [(0.03, "supported"), (-0.03, "contradicted")]
)
def test_the_seeds_of_the_test_alone_decide(tmp_path, gain, verdict):
    write_grid(tmp_path)  # in which both arms are equal at their best
    write_tests(tmp_path, "none", range(10, 16))
    write_tests(tmp_path, "custom", range(10, 16), gain)
    whole, claims, _ = answer(study(), load_runs(tmp_path))
    assert whole == verdict
    row = claims[0].comparison.contrasts.iloc[0]
    assert row["n"] == 6
    assert row["difference"] == pytest.approx(gain - 0.002)
    assert "these seeds had no part in the choice" in claims[0].reason


def test_an_incomplete_grid_waits(tmp_path):
    write_grid(tmp_path)
    runs = load_runs(tmp_path)
    lacking = (runs["norm"] == "custom") & (runs["seed"] == 2)
    _, claims, _ = answer(study(), runs[~lacking])
    assert claims[0].reason == (
        "the study answers from 3 planned seeds; the first 2 are complete"
    )


def test_seeds_of_many_digits_are_found_among_those_of_the_runs(tmp_path):
    for seed in (0, 20240102):
        write_run(tmp_path, "none", seed)
    asked = PLAN | {"confirm_seeds": "range(20240101,20240104)"}
    assert of_confirm_seeds(asked, load_runs(tmp_path)).tolist() == [False, True]


def test_seeds_of_the_grid_cannot_test_too():
    with pytest.raises(ValueError) as error:
        check_confirm_seeds("demo", PLAN | {"confirm_seeds": [2, 3]}, GRID)
    assert str(error.value) == (
        "demo: confirm_seeds must be other seeds than those of the grid, which "
        "choose; both have 2"
    )


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            PLAN | {"confirm_seeds": "10-20"},
            "demo: confirm_seeds must be seeds such as 10,11,12 or range(10,20), got "
            "10-20",
        ),
        (
            PLAN | {"claims": [{"says": "Yes.", "expect": "higher"}]},
            "demo: confirm_seeds must come with a claim that has select, whose chosen "
            "values they test; got range(10,16)",
        ),
    ],
)
def test_plans_that_test_nothing_are_refused(plan, message):
    with pytest.raises(ValueError) as error:
        check_plan("demo", plan)
    assert str(error.value) == message
