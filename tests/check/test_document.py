"""The page of the reference names every property with its points."""

import re
from pathlib import Path

from normlab.check.properties import PROPERTIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "check.md"
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \|(?: (\d+) \|)?$", re.MULTILINE)


def test_the_tables_are_those_of_the_code():
    rows = {
        (name, title, int(points or 0))
        for name, title, points in ROW.findall(PAGE.read_text())
    }
    assert rows == {(one.name, one.title, one.points) for one in PROPERTIES.values()}
