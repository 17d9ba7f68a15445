import pytest

from normlab.config.types import alternatives, rule_of, type_of

GOOD_AND_BAD = {
    "text": (["a"], ["", 1, None, ["a"]]),
    "true or false": ([True, False], [1, 0, "true", None]),
    "number": ([1, -1.5], [True, "1", None]),
    "number above 0": ([1, 0.5], [0, -1, float("inf"), float("nan"), True]),
    "number of at least 0": ([0, 1.5], [-0.1, float("inf"), "0"]),
    "number between 0 and 1": ([0.5], [0, 1, 0.0, 1.0, None]),
    "number from 0 to 1": ([0, 1, 0.5], [-0.1, 1.1]),
    "whole number": ([0, -3], [1.0, True, "1"]),
    "whole number of at least 2": ([2, 3], [1, 2.0, None]),
    "list": ([[], [1]], ["a", None, {}]),
    "list of names": ([[], ["a"]], [[1], "a", [None]]),
    "list of whole numbers": ([[1, 2]], [[1.0], [True], 1]),
    "list of two numbers": ([[1, 2.5]], [[1], [1, "2"], [1, 2, 3]]),
    "list of texts and numbers": ([["", 1]], [[None], ["a", True]]),
    "mapping": ([{}, {"a": 1}], [[], None, "a"]),
    "null or whole number": ([None, 1], [1.0, "null"]),
    "auto or a whole number of at least 1": (["auto", 1], ["Auto", 0, None]),
    "stratified, random or tail": (["tail"], ["head", None, ""]),
    "true, false, default or max-autotune": ([True, "default"], [1, "max", "true"]),
    "train, none or [mean, standard deviation above 0]": (
        ["train", [0.5, 0.25], [[0.5, 0.4], [0.25, 0.2]]],
        [[0.5, 0], [0.5], ["a", 1], "mean", None, [[0.5], [0.1, 0.2]], [[0.5], [0]]],
    ),
    "anything": ([None, 1, "a"], []),
}


@pytest.mark.parametrize("phrase", GOOD_AND_BAD)
def test_a_type_in_words_is_a_test_of_values(phrase):
    good, bad = GOOD_AND_BAD[phrase]
    assert all(map(rule_of(phrase).holds, good))
    assert not any(map(rule_of(phrase).holds, bad))


@pytest.mark.parametrize(
    ("phrase", "requirement"),
    [
        ("number above 0", "a number above 0"),
        ("null or text", "null or text"),
        ("auto or whole number of at least 1", "auto or a whole number of at least 1"),
        ("stratified, random, or tail", "stratified, random or tail"),
        ("mapping", "keys and values, as in {a: 1}"),
        ("text or number or text", "text or a number"),
    ],
)
def test_a_requirement_reads_as_a_sentence(phrase, requirement):
    assert rule_of(phrase).requirement == requirement


def test_brackets_are_one_alternative():
    phrase = "train, none or [mean, standard deviation above 0]"
    expected = ["train", "none", "[mean, standard deviation above 0]"]
    assert alternatives(phrase) == expected


def test_a_misspelt_type_is_refused():
    with pytest.raises(ValueError, match="got 'whole numbr' in it"):
        rule_of("null or whole numbr")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true or false"),
        (1, "whole number"),
        (1.5, "number"),
        ("a", "text"),
        ("1e-5", "number"),
        ([1], "list"),
        ({}, "mapping"),
        (None, "anything"),
    ],
)
def test_a_default_has_a_type(value, expected):
    assert type_of(value) == expected
