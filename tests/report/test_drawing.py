"""The files of a figure and its element on the page."""

import re

import pytest

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


def test_a_figure_that_cannot_be_written_whole_stays_as_it_was(
    grid, tmp_path, monkeypatch
):
    with figure_style():
        drawing = draw_arms(grid)

    def half(path, **options):
        path.write_bytes(b"half")
        raise OSError("no space left")

    (tmp_path / f"{drawing.name}.png").write_text("former")
    monkeypatch.setattr(drawing.figure, "savefig", half)
    with pytest.raises(OSError, match="no space left"):
        save_drawing(drawing, tmp_path)
    (path,) = tmp_path.glob(f"*{drawing.name}*")
    assert path.read_text() == "former"


def test_a_folder_of_figures_that_is_a_link_is_refused(grid, tmp_path):
    with figure_style():
        drawing = draw_arms(grid)
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "figures").symlink_to(precious)
    with pytest.raises(ValueError, match="figures must not be a link"):
        save_drawing(drawing, tmp_path / "figures")
    assert list(precious.iterdir()) == []
