"""Seeds as people write them."""

import pytest

from normlab.config.seed_lists import seed_list


@pytest.mark.parametrize(
    ("written", "seeds"),
    [
        ("7", [7]),
        (7, [7]),
        ("10, 12,11", [10, 12, 11]),
        ("range(3)", [0, 1, 2]),
        ("range(10, 13),20", [10, 11, 12, 20]),
        ([4, "range(3,5)"], [4, 3]),
        (range(2), [0, 1]),
    ],
)
def test_seeds_are_read(written, seeds):
    assert seed_list("confirm", written) == seeds


@pytest.mark.parametrize(
    "written",
    ["3-5", "a", "1.5", "range(a)", "", [], 1.5, None, True, {3: 4}, [[3, 4]]],
)
def test_what_names_no_seeds_is_refused(written):
    with pytest.raises(ValueError, match="^confirm must "):
        seed_list("confirm", written)


def test_a_range_that_nobody_means_is_refused():
    message = r"^confirm must name at most 1,000,000 seeds by a range, got range\(1000"
    with pytest.raises(ValueError, match=message):
        seed_list("confirm", "range(1000000000000)")
