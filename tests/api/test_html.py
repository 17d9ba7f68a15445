"""What notebooks show."""

import re

import pandas as pd
from matplotlib.figure import Figure

from normlab.api.html import comparison_html, run_html, runs_html, show_inline
from normlab.report.drawing import Drawing


def test_runs_are_a_table_that_sorts():
    table = pd.DataFrame({"norm": ["<none>", "torch"], "test/accuracy": [0.5, 0.25]})
    html = runs_html(table)
    assert "&lt;none&gt;" in html
    assert "<none>" not in html
    assert re.findall(r'data-sort="(0\.\d+)"', html) == ["0.5", "0.25"]
    assert html.count('title="sort"') == 2


def test_a_run_shows_its_scores_by_part_and_its_cautions(tmp_path):
    metrics = {"train/accuracy": 1.0, "val/accuracy": 0.5}
    html = run_html(tmp_path, "finished", metrics, {"cautions": ["Beware."]})
    row = re.search(r"<td data-sort=\"accuracy\">.*?</tr>", html)[0]
    assert re.findall(r">([^<>]+)</td>", row) == ["accuracy", "1.0000", "0.5000", "–"]
    assert "⚠ Beware." in html


def test_sentences_come_first():
    html = comparison_html([], ["A is better."], ["Mind the gap."], None)
    assert html.index("A is better.") < html.index("Mind the gap.")


def test_two_figures_of_a_notebook_share_no_ids():
    figure = Figure()
    figure.subplots().plot([1, 2])
    drawing = Drawing("one", "One", "caption", "a line", figure)
    pages = [comparison_html([], [], [], drawing) for _ in range(2)]
    first, second = (set(re.findall(r'id="([^"]+)"', page)) for page in pages)
    assert first
    assert not first & second


def test_a_figure_for_a_cell_lies_on_white():
    figure = Figure()
    figure.patch.set_alpha(0)
    assert show_inline(figure).patch.get_alpha() == 1
