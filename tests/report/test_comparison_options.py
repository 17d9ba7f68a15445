"""The options that `compare` and `plan` share."""

import argparse

from normlab.report.comparison_options import (
    OF_RUNS,
    add_level,
    add_run_options,
    compare_arguments,
    named_keys,
)


def read(*words):
    parser = argparse.ArgumentParser()
    add_run_options(parser)
    add_level(parser)
    return parser.parse_args(words)


def test_options_that_were_given_are_arguments_of_compare():
    options = read("--by", "norm, optimizer", "--arms", "a", "b", "--level", "0.1")
    arguments = {"by": ["norm", "optimizer"], "arms": ["a", "b"]}
    assert compare_arguments(options, OF_RUNS) == arguments
    names = (*OF_RUNS, "level")
    assert compare_arguments(options, names) == arguments | {"level": 0.1}
    assert compare_arguments(read(), names) == {}


def test_keys_are_named_with_commas_between_them():
    assert named_keys("dataset,,model ") == ["dataset", "model"]
    assert named_keys(None) is None
