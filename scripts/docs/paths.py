"""Where the documentation and its sources lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
PAGES = ROOT / "docs"
FRAGMENTS = PAGES / "_generated"


def write_if_changed(path: Path, text: str) -> None:
    """Write a generated page, unless it is unchanged and need not be built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
