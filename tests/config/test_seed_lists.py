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


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("range(1000000000000)", "range(1000000000000)"),
        (f"range({10**30})", f"range({10**30})"),
        ("range(1000000),7", "7"),
        (["5,6", "range(999999)"], "range(999999)"),
        (",".join(["range(1000000)"] * 5000), "range(1000000)"),
        (range(10**12), "1000000"),
    ],
)
def test_seeds_that_nobody_means_are_refused(written, word):
    with pytest.raises(ValueError) as error:
        seed_list("confirm", written)
    assert str(error.value) == (
        f"confirm must name at most 1,000,000 seeds, got more with {word}"
    )


def test_a_million_seeds_are_read():
    assert len(seed_list("confirm", "range(500000),range(500000,1000000)")) == 10**6
    assert seed_list("confirm", "range(5,3),7") == [7]
