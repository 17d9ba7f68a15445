"""Notes behind the verdict of a contrast.

Whole sentences are quoted in `test_contrasts.py` and `test_sentences.py`.
"""

import math

import pytest

from normlab.compare.verdict_notes import meaningful_note, more_seeds_note, spread_note

JUDGED = {
    "arm": "custom",
    "baseline": "none",
    "verdict": "better",
    "judged": 18,  # two runs failed, which counts as the worst outcome
    "pairs": 20,
    "judged_in_pairs": True,
    "wins": 15,
    "ties": 0,
    "improvement": 0.75,
    "improvement_low": 0.51,
    "improvement_high": 0.91,
}


def test_three_wins_of_four_are_meaningful_if_more_than_half_are_sure():
    assert meaningful_note(JUDGED, 0.05) == (
        " It is meaningful: custom is the better one in 15 of 20 pairs (P(better) 95 % "
        "interval 0.51 to 0.91)."
    )
    assert meaningful_note(JUDGED | {"improvement": 0.74}, 0.05) == ""
    assert meaningful_note(JUDGED | {"improvement_low": 0.5}, 0.05) == ""


def test_the_wins_of_a_better_baseline_are_those_that_the_arm_loses():
    worse = {"improvement": 0.2, "improvement_low": 0.1, "improvement_high": 0.4}
    row = JUDGED | worse | {"verdict": "worse", "pairs": 0}
    assert meaningful_note(row, 0.05) == (
        " It is meaningful: of the comparisons of one run with another, none wins 80% "
        "(95 % interval 0.60 to 0.90)."
    )


@pytest.mark.parametrize(
    ("needed", "design", "told"),
    [
        (11.0, "paired", "About 11 new seeds would show a difference of 0.0100"),
        (1200.0, "folds", "About 1,200 folds would show a difference of 0.0100"),
        (10.0, "paired", ""),
        (math.nan, "paired", ""),
    ],
)
def test_more_seeds_are_named_if_there_are_too_few(needed, design, told):
    row = {"sample_size": needed, "n": 10, "design": design, "margin": 0.01}
    note = more_seeds_note(row)
    assert note.startswith(f" {told}" if told else "")
    assert bool(note) == bool(told)


def test_wins_are_counted_among_all_pairs():
    spread = {"sd": 0.1, "sd_baseline": 0.01, "spread_ratio": 10.0, "median": 0.02}
    note = spread_note(JUDGED | spread)
    assert note.endswith(
        "the median difference is +0.0200, and custom wins 15 of 20 pairs."
    )
