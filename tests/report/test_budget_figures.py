"""The figure and the table of what an arm reaches with some values tried."""

import pandas as pd
import pytest

from normlab.compare import compare
from normlab.compare.budgets import budget_curves
from normlab.report.budget_figures import draw_budgets
from normlab.report.tables import _shown_budgets, budget_table


@pytest.fixture
def chosen(grid):
    return compare(grid.runs, select="optimizer.lr")


def test_the_curve_ends_at_the_best_value(chosen):
    drawing = draw_budgets(chosen)
    lines = {line.get_label(): line for line in drawing.figure.axes[0].lines}
    # Validation lies 0.01 below test: none 0.881 and 0.891, custom 0.901 and 0.911.
    assert lines["none"].get_xdata().tolist() == [1, 2, 3]
    assert lines["none"].get_ydata().tolist() == pytest.approx(
        [0.886, (2 * 0.891 + 0.881) / 3, 0.891]
    )
    assert lines["custom"].get_ydata()[-1] == pytest.approx(0.911)
    assert "custom reaches 0.9110 with 3 values" in drawing.description
    assert "Draws in which no run finished are left out." in drawing.caption


def test_without_a_choice_there_is_no_curve(grid):
    assert draw_budgets(grid) is None


def test_the_table_has_a_column_per_budget(chosen):
    assert chosen.choice is not None
    table = budget_table(
        budget_curves(chosen.choice, 0.95), "optimizer.lr", "val/accuracy"
    )
    assert table.columns == ["arm", "1 tried", "2 tried", "3 tried"]
    cells = {row[0][0]: [text for text, _ in row[1:]] for row in table.rows}
    assert cells["none"][0].startswith("0.8860 ± ")
    assert cells["none"][0].endswith(" (67% train)")
    assert cells["custom"][2].startswith("0.9110 ± ")


@pytest.mark.parametrize(
    ("values", "shown"),
    [({"a": 4}, [1, 2, 3, 4]), ({"a": 12, "b": 3}, [1, 2, 3, 4, 8, 12])],
)
def test_of_many_budgets_some_are_shown(values, shown):
    rows = [("", arm, n) for arm, most in values.items() for n in range(1, most + 1)]
    curves = pd.DataFrame(rows, columns=["where", "arm", "tried"])
    assert _shown_budgets(curves) == shown
