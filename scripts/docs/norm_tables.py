"""The tables of `docs/reference/norms/index.md`: what norms compute, and when."""

import re

from docs.paths import PAGES

DOCUMENT = PAGES / "reference" / "norms" / "index.md"


Rows = dict[str, dict[str, str]]


def read_tables() -> tuple[Rows, Rows]:
    """Rows by the norm's key; a row has its cells by the heads of their columns."""
    blocks = re.findall(r"(?:^\|.*\n)+", DOCUMENT.read_text(), re.MULTILINE)
    what, when = (_rows(block) for block in blocks)
    return what, when


def _rows(block: str) -> Rows:
    head, _, *lines = [_cells(line) for line in block.splitlines()]
    rows = {}
    for cells in lines:
        rows[_key(cells[0])] = dict(zip(head, cells, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _key(cell: str) -> str:
    """`custom` from the link to its page, or from its name as code."""
    return re.sub(r"^\[(.*)\]\(.*\)$", r"\1", cell).strip("`")
