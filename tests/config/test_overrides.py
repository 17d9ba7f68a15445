"""What the words of a command set."""

import pytest

from normlab.config.overrides import parse_override, typed_tree, typed_values


def test_an_override_has_the_value_that_yaml_gives_it():
    assert parse_override("optimizer.lr=1e-3").value() == 0.001
    assert parse_override("norm=null").value() is None


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], []),
        (["a.bc=1", "xa.b=1", "a.b", "~a.b"], []),
        (["a.b=1", "++a.b='x y'"], ["x y"]),
        (["+a.b=1,2"], [1, 2]),
        (["a.b=range(2)"], [0, 1]),
        (["a.b={c:1}"], [{"c": 1}]),
        (["a.b=${c}"], ["${c}"]),
        (["a.b=interval(0,1)", "a.b=null"], [None]),
    ],
)
def test_the_last_word_for_a_key_gives_its_values(words, values):
    assert typed_values("a.b", words) == values


def test_the_words_below_a_key_are_a_tree():
    words = [
        "-m",
        "a.b=0",
        "a.bc.d=0",
        "a.b.c=1",
        "++a.b.c=2",
        "+a.b.d={x: 1}",
        "a.b.d.mail-user='${e}'",
        "~a.b.e",
        "a.b.f=1,2",
    ]
    expected = {"c": 2, "d": {"x": 1, "mail-user": "${e}"}}
    assert typed_tree("a.b", words) == expected
    assert typed_tree("a.g", words) == {}


@pytest.mark.parametrize(
    ("words", "tree"),
    [
        (["a.b={c: [x, y], d: {e: 1}}", "a.b.d.f=2"], {"c": ["x", "y"]}),
        (["a.b={d: {e: 0}}", "++a.b={d: {e: 1, f: 2}}"], {}),
        (["a.b.d={e: 1, f: 2}", "a.b=null", "a.b=x", "a.b={g:1},{g:2}"], {}),
    ],
)
def test_one_word_may_hold_the_whole_tree(words, tree):
    assert typed_tree("a.b", words) == tree | {"d": {"e": 1, "f": 2}}
