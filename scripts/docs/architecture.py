"""The architecture as a picture and a table, from the table of the tests."""

import ast
import importlib.util
from collections.abc import Callable, Iterable
from functools import cache

from docs.paths import FRAGMENTS, ROOT, write_if_changed

TABLE = ROOT / "tests" / "test_architecture.py"
SOURCE = ROOT / "src"

Table = dict[str, tuple[str, ...]]

BOX, GAP = (108, 34), (22, 58)  # width and height
MARGIN = 14


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
    for part, imported in table.items():
        level[part] = 1 + max((level[other] for other in imported), default=-1)
    return [
        [part for part in table if level[part] == number]
        for number in range(max(level.values()) + 1)
    ]


def direct_imports(table: Table) -> Table:
    """Without the imports that follow from others."""
    below: dict[str, set[str]] = {}
    for part, imported in table.items():
        below[part] = set(imported).union(*(below[other] for other in imported))
    return {
        part: tuple(
            other
            for other in imported
            if not any(other in below[third] for third in imported)
        )
        for part, imported in table.items()
    }


def ordered_rows(table: Table) -> list[list[str]]:
    """The levels, each ordered so that few arrows cross."""
    arrows = direct_imports(table)
    rows = levels(table)
    for _ in range(8):
        for row, below in zip(rows[1:], rows, strict=False):
            _sort_by_neighbours(row, below, lambda part: arrows[part])
        for row, above in zip(rows[-2::-1], rows[:0:-1], strict=False):
            _sort_by_neighbours(
                row, above, lambda part: [p for p in arrows if part in arrows[p]]
            )
    return rows


def _sort_by_neighbours(
    row: list[str], fixed: list[str], neighbours: Callable[[str], Iterable[str]]
) -> None:
    """Sort a row by the mean place of each part's neighbours in the fixed row."""
    place = {part: (number + 0.5) / len(fixed) for number, part in enumerate(fixed)}
    own = {part: (number + 0.5) / len(row) for number, part in enumerate(row)}

    def mean(part: str) -> float:
        places = [place[other] for other in neighbours(part) if other in place]
        return sum(places) / len(places) if places else own[part]

    row.sort(key=mean)


def drawing(table: Table) -> str:
    """Boxes in levels, foundations at the bottom; arrows point at what is imported."""
    rows = ordered_rows(table)
    widest = max(map(len, rows))
    width = 2 * MARGIN + widest * BOX[0] + (widest - 1) * GAP[0]
    height = 2 * MARGIN + len(rows) * BOX[1] + (len(rows) - 1) * GAP[1]
    places = {}
    for number, row in enumerate(rows):
        y = height - MARGIN - BOX[1] - number * (BOX[1] + GAP[1])
        step = (width - 2 * MARGIN) / len(row)
        for column, part in enumerate(row):
            x = MARGIN + (column + 0.5) * step - BOX[0] / 2
            places[part] = (x, y)

    lines = [
        _arrow(places[part], places[other])
        for part, imported in direct_imports(table).items()
        for other in imported
    ]
    boxes = [_box(part, place) for part, place in places.items()]
    label = "Parts of the package in levels; arrows point at what a part imports"
    return (
        f'<svg class="normlab-figure" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width} {height}" style="max-width: {width}px">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
        f"{''.join(lines)}{''.join(boxes)}</svg>"
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + BOX[0] / 2, start[1] + BOX[1]
    x2, y2 = end[0] + BOX[0] / 2, end[1]
    bend = min(40.0, (y2 - y1) / 2)
    points = [(x1, y1), (x1, y1 + bend), (x2, y2 - bend), (x2, y2 - 1)]
    begin, *curve = [f"{x:.0f},{y:.0f}" for x, y in points]
    path = f"M{begin} C{' '.join(curve)}"
    return f'<path class="arrow" d="{path}" marker-end="url(#head)"/>'


def _box(part: str, place: tuple[float, float]) -> str:
    x, y = place
    middle = f'x="{x + BOX[0] / 2:.0f}" y="{y + BOX[1] / 2 + 5:.0f}"'
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
        f'<text {middle} text-anchor="middle">{part}</text>'
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
