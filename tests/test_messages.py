"""What an exception says, in one line."""

import pytest

from normlab.messages import first_line, with_class


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("one:\ntwo"), "one"),
        (ValueError(" one\ntwo"), "one"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError(" \n"), "RuntimeError"),
        (KeyError("\n"), "'\\n'"),
    ],
)
def test_an_error_has_a_first_line(error, line):
    assert first_line(error) == line


def test_the_class_stands_before_the_first_line():
    assert with_class(OSError("one\ntwo")) == "OSError: one"
    assert with_class(TimeoutError()) == "TimeoutError"
