"""The tables of a comparison as text."""

import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.report.tables import contrast_table, summary_table

NONE = [0.90, 0.92, 0.94, 0.91, 0.93, 0.92]


@pytest.fixture
def comparison(tmp_path):
    write_seeds(
        tmp_path / "runs", {"none": NONE, "custom": [value + 0.01 for value in NONE]}
    )
    return compare(load_runs(tmp_path / "runs"))


def test_columns_that_say_nothing_are_left_out(comparison, tmp_path):
    assert summary_table(comparison).columns == [
        "arm",
        "n",
        "mean",
        "SD",
        "95% interval",
        "median",
        "min",
        "max",
    ]
    write_run(tmp_path / "runs", "none", 6, 0.1, "diverged")
    lost = summary_table(compare(load_runs(tmp_path / "runs")))
    assert lost.columns[-2:] == ["diverged", "trained"]
    assert [text for text, _ in lost.rows[0]][-2:] == ["1", "86% (49% to 97%)"]


@pytest.mark.parametrize(
    ("level", "share"), [(0.001, "99.9%"), (0.05, "95%"), (0.9999, "0.01%")]
)
def test_headers_give_the_level_as_it_is(tmp_path, level, share):
    write_seeds(tmp_path, {"none": NONE * 4, "custom": NONE * 4})
    found = compare(load_runs(tmp_path), level=level)
    assert {f"{share} interval", f"{share} bootstrap"} <= set(
        summary_table(found).columns
    )
    assert f"{share} interval" in contrast_table(found).columns


def test_medians_are_a_column_where_spreads_differ_threefold(tmp_path):
    wide = [0.2, 0.5, 0.6, 0.7, 0.75, 0.6]
    write_seeds(tmp_path / "like", {"none": NONE, "custom": NONE[::-1]})
    write_seeds(tmp_path / "wide", {"none": NONE, "custom": wide})
    like = contrast_table(compare(load_runs(tmp_path / "like")))
    assert "median" not in like.columns
    unequal = contrast_table(compare(load_runs(tmp_path / "wide")))
    place = unequal.columns.index("median")
    # differences -0.70, -0.42, -0.34, -0.21, -0.18, -0.32
    assert unequal.rows[0][place][0] == "−0.3300"


def test_parameters_are_a_column_where_arms_differ_in_them(tmp_path):
    write_seeds(tmp_path, {"none": NONE}, result={"num_parameters": 17_226})
    write_seeds(tmp_path, {"custom": NONE}, result={"num_parameters": 17_610})
    table = summary_table(compare(load_runs(tmp_path)))
    assert table.columns[-1] == "parameters"
    assert [row[-1] for row in table.rows] == [("17,226", 17_226), ("17,610", 17_610)]


@pytest.mark.parametrize("value", [0, None])
def test_the_arm_is_a_column_whatever_its_name(tmp_path, value):
    write_seeds(tmp_path, {"none": NONE}, settings={"optimizer.momentum": 0.9})
    write_seeds(tmp_path, {"none": NONE[::-1]}, settings={"optimizer.momentum": value})
    found = compare(load_runs(tmp_path), by="optimizer.momentum", baseline="0.9")
    table = contrast_table(found)
    assert table.columns[:2] == ["arm", "n"]
    assert [row[0][0] for row in table.rows] == ["–" if value is None else "0"]


def test_an_arm_whose_runs_all_failed_has_a_dash_for_those_that_trained(tmp_path):
    write_seeds(tmp_path, {"none": NONE})
    write_run(tmp_path, "none", 6, 0.1, "diverged")
    write_seeds(tmp_path, {"custom": NONE}, status="failed")
    table = summary_table(compare(load_runs(tmp_path)))
    place = table.columns.index("trained")
    assert [row[place][0] for row in table.rows] == ["86% (49% to 97%)", "–"]


def test_numbers_below_zero_have_the_minus_of_differences(tmp_path):
    for seed, value in enumerate(NONE):
        write_run(tmp_path, "none", seed, metrics={"test/r2": value - 2})
        write_run(tmp_path, "custom", seed, metrics={"test/r2": value - 2.5})
    found = compare(load_runs(tmp_path), metric="test/r2")
    assert [text for text, _ in summary_table(found).rows[1]][:3] == [
        "custom",
        "6",
        "−1.5800",
    ]
    assert not any(
        "-" in text
        for table in (summary_table(found), contrast_table(found))
        for text, _ in table.rows[0]
    )
