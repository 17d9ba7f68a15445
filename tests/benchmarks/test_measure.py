"""The rows of benchmarks, and how those of several processes become one table."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import Row, combined, markdown


def processes(values, reach, faster=False):
    """A row a process, of which each was measured against 2 seconds."""
    rows = [
        Row("epoch", "bare loop", value, 2.0, reach, faster, note=f"{value}")
        for value in values
    ]
    return combined([[row] for row in rows])[0]


def test_processes_become_medians_with_all_ratios():
    row = processes([1.0, 4.0, 2.4], reach=1.5)
    assert (row.value, row.reference) == (2.4, 2.0)
    assert row.ratios == (0.5, 1.2, 2.0)
    assert row.ratio == 1.2
    assert row.note == "2.4"
    assert "1.20 x (0.50 to 2.00)" in markdown([row])


@pytest.mark.parametrize(
    ("reach", "reached"), [(2.0, "yes"), (1.5, "by the median only"), (1.1, "no")]
)
def test_a_range_that_crosses_the_mark_is_told(reach, reached):
    assert processes([1.0, 4.0, 2.4], reach).reached == reached


def test_faster_rows_divide_the_other_way():
    row = processes([0.5, 0.25, 1.0], reach=3, faster=True)
    assert row.ratios == (2.0, 4.0, 8.0)
    assert row.reached == "by the median only"
    assert "4.00 x faster (2.00 to 8.00)" in row.cells()


def test_a_row_of_one_process_has_no_range():
    row = processes([3.0], reach=2)
    assert row.cells()[4] == "1.50 x"
    assert row.reached == "yes"
