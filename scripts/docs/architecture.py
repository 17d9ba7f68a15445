"""The architecture as a picture and a table, from the table of the tests."""

import ast
import importlib.util
import itertools
import math
from collections import defaultdict
from functools import cache

from docs.paths import FRAGMENTS, ROOT, write_if_changed

TABLE = ROOT / "tests" / "test_architecture.py"
SOURCE = ROOT / "src"

Table = dict[str, tuple[str, ...]]

Neighbours = dict[str, set[str]]
Place = tuple[float, float]

BOX_WIDTH, BOX_HEIGHT = 108, 34
GAP = 22  # between boxes
LEVEL = 92  # from one level to the next
MARGIN = 14
SVG = """<svg class="normlab-figure" role="img" viewBox="0 0 {width} {height}"
  aria-label="Parts of the package in levels; arrows point at what a part imports"
  style="max-width: {width}px">
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
  markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>
{shapes}
</svg>
"""


def write_fragments() -> None:
    """Write what `docs/explanation/architecture.md` includes: picture and table."""
    table = read_table()
    write_if_changed(FRAGMENTS / "architecture.svg", drawing(table))
    write_if_changed(FRAGMENTS / "architecture.md", parts_table(table))


@cache
def read_table() -> Table:
    """What every part of the package may import."""
    specification = importlib.util.spec_from_file_location("architecture", TABLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.ARCHITECTURE


def levels(table: Table) -> list[list[str]]:
    """Parts by the longest chain of imports below them."""
    level: dict[str, int] = {}
    rows: list[list[str]] = []
    for part, imported in table.items():
        number = 1 + max(map(level.get, imported), default=-1)
        if number == len(rows):
            rows.append([])
        rows[number].append(part)
        level[part] = number
    return rows


def direct_imports(table: Table) -> Table:
    """Without the imports that follow from others."""
    below: dict[str, set[str]] = {}
    direct = {}
    for part, imported in table.items():
        indirect: set[str] = set()
        for other in imported:
            indirect |= below[other]
        direct[part] = tuple(other for other in imported if other not in indirect)
        below[part] = indirect.union(imported)
    return direct


def ordered_rows(table: Table) -> list[list[str]]:
    """The levels, each ordered so that few arrows cross."""
    neighbours: Neighbours = defaultdict(set)
    for part, imported in direct_imports(table).items():
        for other in imported:
            neighbours[part].add(other)
            neighbours[other].add(part)

    rows = levels(table)
    for _ in range(8):
        for upwards in (True, False):
            ordered = rows if upwards else rows[::-1]
            for fixed, row in itertools.pairwise(ordered):
                _sort_by_neighbours(row, fixed, neighbours)
    return rows


def _sort_by_neighbours(
    row: list[str], fixed: list[str], neighbours: Neighbours
) -> None:
    """Sort a row by the mean place of each part's neighbours in the fixed row."""
    places = _places(fixed)
    own = _places(row)

    def mean(part: str) -> float:
        near = neighbours[part] & places.keys()
        if not near:
            return own[part]
        return math.fsum(map(places.get, near)) / len(near)

    row.sort(key=mean)


def _places(row: list[str]) -> dict[str, float]:
    """The middle of every part in a row, from 0 on the left to 1 on the right."""
    places = {}
    for number, part in enumerate(row):
        places[part] = (number + 0.5) / len(row)
    return places


def drawing(table: Table) -> str:
    """Boxes in levels, foundations at the bottom; arrows point at what is imported."""
    rows = ordered_rows(table)
    widest = max(map(len, rows))
    inner_width = widest * BOX_WIDTH + (widest - 1) * GAP
    width = inner_width + 2 * MARGIN
    inner_height = (len(rows) - 1) * LEVEL + BOX_HEIGHT
    height = inner_height + 2 * MARGIN
    places: dict[str, Place] = {}
    for number, row in enumerate(rows):
        y = height - MARGIN - BOX_HEIGHT - number * LEVEL
        step = inner_width / len(row)
        for column, part in enumerate(row):
            x = MARGIN + (column + 0.5) * step
            places[part] = (x, y)

    shapes = []
    for part, imported in direct_imports(table).items():
        for other in imported:
            shapes.append(_arrow(places[part], places[other]))
    for part, place in places.items():
        shapes.append(_box(part, place))
    return SVG.format(width=width, height=height, shapes="".join(shapes))


def _arrow(start: Place, end: Place) -> str:
    """From the bottom of a box to the top of one below, as a curve."""
    x1, y1 = start
    x2, y2 = end
    y1 += BOX_HEIGHT
    bend = min(40.0, (y2 - y1) / 2)
    path = (
        f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} "
        f"{x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2 - 1:.0f}"
    )
    return f'<path class="arrow" d="{path}" marker-end="url(#head)"/>'


def _box(part: str, place: Place) -> str:
    """A box with its name; a place is the middle of its upper edge."""
    x, y = place
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"'
    middle = f'x="{x:.0f}" y="{y + BOX_HEIGHT / 2 + 5:.0f}" text-anchor="middle"'
    return (
        f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y:.0f}" {size}/>'
        f"<text {middle}>{part}</text>"
    )


def parts_table(table: Table) -> str:
    """Every part, what it is for by its docstring, and what it imports."""
    lines = ["| part | what it is for | imports |", "|---|---|---|"]
    for part, imported in reversed(table.items()):
        names = ", ".join(f"`{name}`" for name in imported) or "nothing of ours"
        lines.append(f"| `{part}` | {purpose(part)} | {names} |")
    return "\n".join(lines) + "\n"


def purpose(part: str) -> str:
    """The first sentence of the docstring of a folder or module."""
    package = SOURCE / "normlab"
    for path in (package / part / "__init__.py", package / f"{part}.py"):
        if path.is_file():
            tree = ast.parse(path.read_text())
            text = ast.get_docstring(tree) or ""
            first, _, _ = text.partition("\n\n")
            return " ".join(first.split())
    return "Launchers and sweepers, which Hydra accepts from this namespace only."
