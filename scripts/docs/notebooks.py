"""The notebooks as pages, and where the outputs of their cells are kept."""

import hashlib
from pathlib import Path

from docs.paths import CONF, PAGES, ROOT, write_if_changed

CACHE = PAGES / "_build" / ".jupyter_cache"
NOTEBOOKS = ROOT / "notebooks"


def write_pages() -> None:
    """Copy the notebooks to the pages, which execute them."""
    for path in sorted(NOTEBOOKS.glob("*.md")):
        write_if_changed(PAGES / "notebooks" / path.name, path.read_text())


def cache_of_outputs() -> Path:
    """A folder of outputs for the package and the configuration as they are now.

    MyST-NB executes a notebook if its cells have changed; what they show also depends
    on the code that they call.
    """
    digest = hashlib.sha256()
    sources = sorted((ROOT / "src" / "normlab").rglob("*.py"))
    for path in [*sources, *sorted(CONF.rglob("*.yaml"))]:
        digest.update(path.read_bytes())
    return CACHE / digest.hexdigest()[:16]
