import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from normlab.sweeps.grid import combinations, with_first_values


def combined(*words, zipped=(), excluded=()):
    jobs, left_out = combinations(
        OverridesParser.create().parse_overrides(list(words)), zipped, excluded
    )
    return [" ".join(job) for job in jobs], left_out


def test_the_last_key_varies_fastest():
    jobs, left_out = combined(
        "norm=none,torch", "seed=range(2)", "trainer.max_epochs=3"
    )
    assert jobs == [
        "norm=none seed=0 trainer.max_epochs=3",
        "norm=none seed=1 trainer.max_epochs=3",
        "norm=torch seed=0 trainer.max_epochs=3",
        "norm=torch seed=1 trainer.max_epochs=3",
    ]
    assert left_out == 0


def test_the_later_override_of_a_key_holds():
    assert combined("seed=range(3)", "norm=torch", "seed=7,8")[0] == [
        "seed=7 norm=torch",
        "seed=8 norm=torch",
    ]


def test_zipped_keys_advance_together_at_the_place_of_the_first():
    jobs, left_out = combined(
        "norm=none,torch",
        "seed=0,1",
        "optimizer.lr=0.1,1",
        zipped=[["norm", "optimizer.lr"]],
    )
    assert jobs == [
        "norm=none optimizer.lr=0.1 seed=0",
        "norm=none optimizer.lr=0.1 seed=1",
        "norm=torch optimizer.lr=1 seed=0",
        "norm=torch optimizer.lr=1 seed=1",
    ]
    assert left_out == 0


def test_two_groups_of_zipped_keys_are_combined():
    words = ["a=1,2", "b=3,4", "c=5,6", "d=7,8"]
    assert combined(*words, zipped=[["a", "c"], ["d", "b"]])[0] == [
        "a=1 c=5 d=7 b=3",
        "a=1 c=5 d=8 b=4",
        "a=2 c=6 d=7 b=3",
        "a=2 c=6 d=8 b=4",
    ]


def test_exclusions_compare_values_and_not_their_spelling():
    jobs, left_out = combined(
        "norm=none,torch",
        "optimizer.lr=0.1,1",
        "seed=0,1",
        excluded=[{"norm": "none", "optimizer.lr": 1.0}],
    )
    assert left_out == 2
    assert len(jobs) == 6
    assert not any(job.startswith("norm=none optimizer.lr=1 ") for job in jobs)


def test_exclusions_name_a_key_without_its_plus():
    jobs, left_out = combined("+norm.size=2,4", "seed=0,1", excluded=[{"norm.size": 4}])
    assert jobs == ["+norm.size=2 seed=0", "+norm.size=2 seed=1"]
    assert left_out == 2


def test_zip_and_exclude_work_together():
    jobs, left_out = combined(
        "a=1,2", "b=3,4", zipped=[["a", "b"]], excluded=[{"b": 3}]
    )
    assert jobs == ["a=2 b=4"]
    assert left_out == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"zipped": [["norm", "optimizer.lrr"]]},
            "hydra.sweeper.zip names 'optimizer.lrr', which this sweep does not set, "
            "did you mean 'optimizer.lr'?; it sets norm, optimizer.lr, seed",
        ),
        (
            {"zipped": [["norm", "seed"]]},
            "hydra.sweeper.zip needs lists of equal length: "
            "norm has 2 values, seed has 3",
        ),
        (
            {"zipped": [["norm", "optimizer.lr"], ["norm"]]},
            "must name a key once, 'norm' came twice",
        ),
        (
            {"zipped": ["norm", "optimizer.lr"]},
            "must be a list of lists of keys, got 'norm' in it",
        ),
        ({"excluded": [{"nrom": "none"}]}, "hydra.sweeper.exclude names 'nrom'"),
        ({"excluded": ["norm"]}, "must be a list of {key: value}, got 'norm' in it"),
        ({"excluded": [{}]}, "must be a list of {key: value}, got {} in it"),
        (
            {"excluded": [{"norm": "none"}, {"norm": "torch"}]},
            "must leave a job, it leaves none of 12",
        ),
    ],
)
def test_mistakes_in_zip_and_exclude_are_named(options, message):
    with pytest.raises(ValueError) as error:
        combined("norm=none,torch", "optimizer.lr=0.1,1", "seed=range(3)", **options)
    assert message in str(error.value)


def test_an_interval_needs_a_search():
    with pytest.raises(
        ValueError, match=r"optimizer.lr=interval\(0.1,1\) has no values to list"
    ):
        combined("optimizer.lr=interval(0.1,1)")


@pytest.mark.parametrize("word", ["a.b=5", "+a.b=5", "++a.b=5"])
def test_a_key_with_a_plus_is_the_same_key(word):
    plus = word.removesuffix("a.b=5")
    assert combined("a.b=1,2", word, "seed=0")[0] == [f"{plus}a.b=5 seed=0"]
    jobs, _ = combined(word, "a.b=1,2", "c=3,4", zipped=[["+a.b", "c"]])
    assert jobs == [f"{plus}a.b=1 c=3", f"{plus}a.b=2 c=4"]


def test_a_trial_keeps_the_first_values_of_a_key_with_a_plus():
    overrides = OverridesParser.create().parse_overrides(["++seed=3,4,5", "a=1,2"])
    shortened = with_first_values(overrides, "seed", 2)
    assert [override.input_line for override in shortened] == ["seed=3,4", "a=1,2"]
