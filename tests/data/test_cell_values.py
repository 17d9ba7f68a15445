import pandas as pd
import pytest

from normlab.data.cell_values import commas_meaning, numbers_of, one_spelling


@pytest.mark.parametrize(
    ("texts", "meaning"),
    [
        (["1,000"], "commas between thousands"),
        (["1,000.5", "-12,345,678"], "commas between thousands"),
        (["1,000", "1,5"], "a decimal comma"),
        (["3,75"], "a decimal comma"),
        (["1,000", "7"], None),
        (["a,b"], None),
        (["inf"], None),
    ],
)
def test_what_commas_mean(texts, meaning):
    found = commas_meaning(pd.Series(texts, dtype=object))
    assert (found and found[0]) == meaning


def test_numbers_are_converted_and_gaps_kept():
    text = pd.Series(["1", None, "2.5e3"], dtype=object, name="a")
    values = numbers_of(text, "f", None)
    assert values.isna().tolist() == [False, True, False]
    assert values.tolist()[::2] == [1.0, 2500.0]


@pytest.mark.parametrize("wrong", ["x", "inf", "1e39", "nan"])
def test_what_float32_cannot_hold_is_refused(wrong):
    text = pd.Series(["1", wrong], dtype=object, name="a", index=[1, 2])
    with pytest.raises(ValueError, match=f"row 2 has '{wrong}'; ask me"):
        numbers_of(text, "f", "ask me")


@pytest.mark.parametrize(
    ("spelling", "shortest"),
    [
        ("1.00", "1"),
        ("+1", "1"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("2.50", "2.5"),
        (".5", "0.5"),
        ("007", "007"),
        ("00.5", "00.5"),
        ("1e100", "1e100"),
        ("nan", "nan"),
        ("1.0 kg", "1.0 kg"),
        ("12345678901234567890123456789", "12345678901234567890123456789"),
    ],
)
def test_the_spelling_of_a_number(spelling, shortest):
    text = pd.Series([spelling, None], dtype=object)
    assert one_spelling(text, "f", "one class").tolist()[0] == shortest
    assert one_spelling(text, "f", "one class").isna().tolist() == [False, True]
