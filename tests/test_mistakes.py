"""Explanations of the user's mistakes."""

import pytest
from hydra.errors import ConfigCompositionException, InstantiationException

from normlab.mistakes import explain, reason


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (ValueError("y must be 1"), "y must be 1"),
        (KeyError("y"), "KeyError: 'y'"),
        (None, "whole"),
    ],
)
def test_an_error_that_hydra_wraps_is_explained_by_its_cause(cause, text):
    error = InstantiationException(
        "Error in call to target 'normlab.data.x':\nwhole\nfull_key: dataset"
    )
    error.__cause__ = cause
    assert reason(error) == (
        f"normlab.data.x: {text}"
        if cause
        else "Error in call to target 'normlab.data.x':\nwhole"
    )


def test_an_unknown_option_is_answered_with_those_that_exist():
    error = ConfigCompositionException(
        "Could not find 'norm/torhc'\n\nAvailable options in 'norm':\n"
        "\tnone\n\ttorch\nConfig search path:"
    )
    assert explain(error) == (
        "norm=torhc does not exist, did you mean 'torch'?; norm is one of none, torch"
    )


def test_other_messages_keep_their_first_two_lines():
    assert explain(ValueError("  a must be 1  \n\nb\nc")) == "a must be 1"
    assert explain(ValueError("a\nb\nc")) == "a\nb"


def test_an_unforeseen_exception_shows_its_class():
    assert reason(KeyError("x")) == "KeyError: 'x'"
    assert reason(ValueError("x must be 1")) == "x must be 1"
