import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from normlab.search.space import describe, probes, split, words


def parsed(*overrides):
    return OverridesParser.create().parse_overrides(list(overrides))


def only(text):
    space, _ = split(parsed(f"key={text}"))
    return space["key"]


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("interval(1, 5)", FloatDistribution(1.0, 5.0)),
        ("int(interval(1, 5))", IntDistribution(1, 5)),
        ("tag(log, interval(1, 5))", FloatDistribution(1.0, 5.0, log=True)),
        ("tag(log, int(interval(1, 5)))", IntDistribution(1, 5, log=True)),
        ("int(tag(log, interval(1, 5)))", IntDistribution(1, 5, log=True)),
        ("choice(1, 2)", CategoricalDistribution([1, 2])),
        ("1,2", CategoricalDistribution([1, 2])),
        ("int(1.5, 2.5)", CategoricalDistribution([1, 2])),
        ("true,false,null", CategoricalDistribution([True, False, "null"])),
        ("choice([64], [128, 64])", CategoricalDistribution(["[64]", "[128,64]"])),
        ("choice('a, b', c)", CategoricalDistribution([r"a\,\ b", "c"])),
        ("'a, b',c", CategoricalDistribution(["'a, b'", "c"])),
        ("choice(custom)", CategoricalDistribution(["custom"])),
        ("range(1, 4)", IntDistribution(1, 3)),
        ("range(4)", IntDistribution(0, 3)),
        ("range(1, 8, 3)", IntDistribution(1, 7, step=3)),
        ("range(1, 7, 3)", IntDistribution(1, 4, step=3)),
        ("range(8, 1, -3)", IntDistribution(2, 8, step=3)),
        ("range(0.5, 3, step=1)", FloatDistribution(0.5, 2.5, step=1.0)),
        ("range(0.1, 0.5, 0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("tag(log, range(1, 65))", IntDistribution(1, 64, log=True)),
        ("float(range(1, 4))", FloatDistribution(1.0, 3.0, step=1.0)),
    ],
)
def test_an_override_becomes_a_distribution(text, distribution):
    assert only(text) == distribution
    assert only(describe(distribution)) == distribution


@pytest.mark.parametrize(
    "text", ["range(1, 4)", "range(1, 8, 3)", "range(8, 1, -3)", "range(0.1, 0.5, 0.1)"]
)
def test_a_range_has_the_values_that_it_has_in_a_grid(text):
    distribution = only(text)
    (override,) = parsed(f"key={text}")
    values = sorted(override.sweep_iterator())
    assert [distribution.low, distribution.high] == pytest.approx(
        [values[0], values[-1]]
    )
    assert round((distribution.high - distribution.low) / distribution.step) + 1 == len(
        values
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "a search needs a setting to vary"),
        (["optimizer.lr=0.1"], "a search needs a setting to vary"),
        (
            ["seed=0,1", "optimizer.lr=1,2"],
            "seed is not set in a search: hydra.sweeper.seeds=",
        ),
        (
            ["seed=3", "optimizer.lr=1,2"],
            "seed is not set in a search: hydra.sweeper.seeds=",
        ),
        (["+seed=3", "optimizer.lr=1,2"], "seed is not set in a search"),
        (["group=a,b"], "group does not change a result"),
        (
            ["a=interval(2, 1)"],
            "a: interval(low, high) must rise, got interval(2.0, 1.0)",
        ),
        (["a=interval(1, 1)"], "must rise"),
        (
            ["a=tag(log, interval(0, 1))"],
            "a: tag(log, ...) needs numbers above 0, got 0.0",
        ),
        (["a=tag(lgo, interval(1, 2))"], "a: tag(...) must be tag(log, ...), got lgo"),
        (
            ["a=tag(log, choice(1, 2))"],
            "needs numbers in an interval(...) or a range(...), got a choice",
        ),
        (["a=tag(log, range(2, 9, 2))"], "or a range(...) of step 1, got step 2"),
        (["a=tag(log, range(0.5, 9, 1))"], "or a range(...) of whole numbers"),
        (
            ["a=range(3, 1)"],
            "a: range(start, stop, step) must hold a value, got range(3, 1, 1)",
        ),
        (["a=range(1, 3, 0)"], "must hold a value"),
    ],
)
def test_an_invalid_space_is_refused(overrides, message):
    with pytest.raises(ValueError) as caught:
        split(parsed(*overrides))
    assert message in str(caught.value)


def test_the_later_override_holds_even_if_it_is_fixed():
    space, fixed = split(
        parsed("a=1,2", "b=interval(0, 1)", "c=5", "a=3,4", "b=0.5", "~d", "+e='x y'")
    )
    assert space == {"a": CategoricalDistribution([3, 4])}
    assert fixed == ["b=0.5", "c=5", "~d", "+e='x y'"]


def test_sampled_values_survive_as_overrides():
    params = {
        "a": True,
        "b": 0.1,
        "c": 3,
        "d": "null",
        "e": r"a\,\ b",
        "f": "[128,64]",
        "g": 1e-07,
    }
    values = [override.value() for override in parsed(*words(params))]
    assert values == [True, 0.1, 3, None, "a, b", [128, 64], 1e-07]


def test_probes_have_every_choice_and_both_ends():
    space, _ = split(parsed("a=x,y,z", "b=interval(0, 1)", "c=range(1, 4)"))
    assert probes(space) == [
        ["a=x", "b=0.0", "c=1"],
        ["a=y", "b=1.0", "c=3"],
        ["a=z", "b=0.0", "c=1"],
    ]


@pytest.mark.parametrize(
    ("text", "choices", "repeated"),
    [
        ("optimizer.lr=0.1,1e-1,1,1.0", (0.1, 1), 2),
        ("norm=none,custom,none", ("none", "custom"), 1),
        ("model.bias=true,1", (True, 1), 0),
    ],
)
def test_a_repeated_choice_is_one_choice(capsys, text, choices, repeated):
    space, _ = split([OverridesParser.create().parse_override(text)])
    (distribution,) = space.values()
    assert distribution.choices == choices
    said = f"note: {text} repeats {repeated} of its values; each is one choice\n"
    assert capsys.readouterr().err == (said if repeated else "")


def test_a_key_with_a_plus_is_the_same_key():
    overrides = parsed("a.b=interval(0,1)", "++a.b=2", "c=1,2", "+d.e=1", "d.e=3")
    space, fixed = split(overrides)
    assert list(space) == ["c"]
    assert fixed == ["++a.b=2", "+d.e=3"]
