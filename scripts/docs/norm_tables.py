"""The tables of `docs/reference/norms/index.md`: what norms compute, and when."""

import re

from docs.paths import PAGES

DOCUMENT = PAGES / "reference" / "norms" / "index.md"


Rows = dict[str, dict[str, str]]


def read_tables() -> tuple[Rows, Rows]:
    """Rows by the norm's key; a row has its cells by the heads of their columns."""
    text = DOCUMENT.read_text()
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    what, when = map(_rows, blocks)
    return what, when


def _rows(block: str) -> Rows:
    head, _, *lines = map(_cells, block.splitlines())
    rows = {}
    for cells in lines:
        key = _key(cells[0])
        rows[key] = dict(zip(head, cells, strict=True))
    return rows


def _cells(line: str) -> list[str]:
    inner = line.strip().strip("|")
    return [cell.strip() for cell in inner.split("|")]


def _key(cell: str) -> str:
    """`custom` from the link to its page, or from its name as code."""
    return re.sub(r"^\[(.*)\]\(.*\)$", r"\1", cell).strip("`")
