"""The files of a figure and its element on the page."""

import re

from normlab.report.arm_figures import draw_arms
from normlab.report.drawing import INK, figure_style, inline_svg, save_drawing


def test_a_figure_has_three_files_and_an_element(grid, tmp_path):
    with figure_style():
        drawing = draw_arms(grid)
    paths = save_drawing(drawing, tmp_path / "figures")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert all(path.stat().st_size > 1000 for path in paths)
    svg = inline_svg(drawing, "first")
    assert svg.startswith("<svg style=")
    assert INK not in svg
    assert "currentColor" in svg
    ids = re.findall(r' id="([^"]*)"', svg)
    assert ids
    assert all(name.startswith("first-") for name in ids)
