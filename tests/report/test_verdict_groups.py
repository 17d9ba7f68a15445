import numpy as np
import pandas as pd

from normlab.report.verdict_groups import merge_alike, verdict_groups


def contrasts(verdicts, sentences=None):
    rows = []
    for place, verdict in enumerate(verdicts):
        sentence = f"{place} differs (95 % interval +0.1 to +0.3), but run 9 seeds."
        rows.append(
            {
                "arm": f"arm {place}",
                "baseline": "none",
                "where": "lr=0.1" if place else "",
                "verdict": verdict,
                "difference": 0.2,
                "low_holm": 0.1,
                "high_holm": np.nan if place == 2 else 0.3,
                "sentence": sentences[place] if sentences else sentence,
            }
        )
    table = pd.DataFrame(rows)
    table.loc[table["high_holm"].isna(), "low_holm"] = np.nan
    return table


def test_contrasts_of_one_verdict_share_a_group():
    better, open_ones = verdict_groups(
        contrasts(["cannot tell", "better", "cannot tell", "cannot tell"])
    )[::-1]
    assert (better.verdict, len(better.sentences), better.lines) == ("better", 1, [])
    assert open_ones.verdict == "cannot tell"
    assert open_ones.lines == [
        ("arm 0 − none", "+0.2000 (+0.1000 to +0.3000)"),
        ("arm 2 − none at lr=0.1", "+0.2000"),
        ("arm 3 − none at lr=0.1", "+0.2000 (+0.1000 to +0.3000)"),
    ]
    assert open_ones.reason == "Run 9 seeds."
    assert len(open_ones.sentences) == 3


def test_reasons_that_differ_are_left_to_the_sentences():
    texts = ["a (1 to 2), but b.", "a (1 to 2), but c.", "a (1 to 2), but b."]
    (group,) = verdict_groups(contrasts(["cannot tell"] * 3, texts))
    assert group.reason == ""
    assert group.sentences == texts


def test_no_contrasts_have_no_groups():
    assert verdict_groups(pd.DataFrame()) == []


def test_what_is_said_of_several_arms_is_said_once():
    warnings = ["none: extend the grid.", "other: x", "custom: extend the grid.", "x"]
    assert merge_alike(warnings, ["none", "custom"]) == [
        "none, custom: extend the grid.",
        "other: x",
        "x",
    ]
