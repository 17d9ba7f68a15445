"""Figures take their colours from one place."""

from pathlib import Path

import pytest

from normlab import colours

ROOT = Path(__file__).resolve().parents[1]


def test_no_two_colours_are_equal():
    assert len(set(colours.COLOURS)) == 7


@pytest.mark.parametrize("folder", ["src", "scripts", "benchmarks"])
def test_no_other_file_writes_a_colour_out(folder):
    copies = []
    for path in (ROOT / folder).rglob("*.py"):
        text = path.read_text().upper()
        is_copy = any(colour in text for colour in colours.COLOURS)
        if is_copy and path != Path(colours.__file__):
            copies.append(path.name)
    assert copies == []
