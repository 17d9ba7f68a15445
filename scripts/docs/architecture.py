"""The architecture as a picture and a table, from the table of the tests."""

import ast
import importlib.util
import itertools
from functools import cache

from docs.paths import FRAGMENTS, ROOT, write_if_changed

TABLE = ROOT / "tests" / "test_architecture.py"
SOURCE = ROOT / "src"

Table = dict[str, tuple[str, ...]]

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
        level[part] = 1 + max((level[other] for other in imported), default=-1)
        if level[part] == len(rows):
            rows.append([])
        rows[level[part]].append(part)
    return rows


def direct_imports(table: Table) -> Table:
    """Without the imports that follow from others."""
    below: dict[str, set[str]] = {}
    direct = {}
    for part, imported in table.items():
        indirect = set().union(*(below[other] for other in imported))
        direct[part] = tuple(other for other in imported if other not in indirect)
        below[part] = indirect.union(imported)
    return direct


def ordered_rows(table: Table) -> list[list[str]]:
    """The levels, each ordered so that few arrows cross."""
    neighbours: dict[str, set[str]] = {part: set() for part in table}
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
    row: list[str], fixed: list[str], neighbours: dict[str, set[str]]
) -> None:
    """Sort a row by the mean place of each part's neighbours in the fixed row."""
    places = {part: (number + 0.5) / len(fixed) for number, part in enumerate(fixed)}
    own = {part: (number + 0.5) / len(row) for number, part in enumerate(row)}

    def mean(part: str) -> float:
        found = [places[other] for other in neighbours[part] if other in places]
        return sum(found) / len(found) if found else own[part]

    row.sort(key=mean)


def drawing(table: Table) -> str:
    """Boxes in levels, foundations at the bottom; arrows point at what is imported."""
    rows = ordered_rows(table)
    widest = max(map(len, rows))
    width = 2 * MARGIN + widest * BOX_WIDTH + (widest - 1) * GAP
    height = 2 * MARGIN + len(rows) * LEVEL - (LEVEL - BOX_HEIGHT)
    places: dict[str, Place] = {}
    for number, row in enumerate(rows):
        y = height - MARGIN - BOX_HEIGHT - number * LEVEL
        step = (width - 2 * MARGIN) / len(row)
        for column, part in enumerate(row):
            places[part] = (MARGIN + (column + 0.5) * step, y)

    shapes = []
    for part, imported in direct_imports(table).items():
        shapes += [_arrow(places[part], places[other]) for other in imported]
    shapes += [_box(part, place) for part, place in places.items()]
    return SVG.format(width=width, height=height, shapes="".join(shapes))


def _arrow(start: Place, end: Place) -> str:
    """From the bottom of a box to the top of one below, as a curve."""
    (x1, y1), (x2, y2) = start, end
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
    for path in (
        SOURCE / "normlab" / part / "__init__.py",
        SOURCE / "normlab" / f"{part}.py",
    ):
        if path.is_file():
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            return " ".join(text.partition("\n\n")[0].split())
    return "Launchers and sweepers, which Hydra accepts from this namespace only."
