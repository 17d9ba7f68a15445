import pytest

from normlab.option_names import with_option_names

OPTIONS = {"num_batches": "--batches", "by": "--by", "within": "--within"}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("num_batches must be at least 1", "--batches must be at least 1"),
        ("by must name a setting", "--by must name a setting"),
        (
            "add norm.eps to `by` and lr to `within`",
            "add norm.eps to --by and lr to --within",
        ),
        ("the by must be", "the by must be"),
        ("within 3 lines", "within 3 lines"),
        ("`width` must be 1", "`width` must be 1"),
    ],
)
def test_messages_name_the_option_of_an_argument(message, expected):
    assert with_option_names(message, OPTIONS) == expected
