"""The notebooks as pages, and where the outputs of their cells are kept."""

import hashlib
import shutil
from pathlib import Path

from docs.paths import CONF, PAGES, ROOT, write_if_changed

CACHE = PAGES / "_build" / ".jupyter_cache"
NOTEBOOKS = ROOT / "notebooks"
SOURCES = [".py", ".html", ".css"]


def write_pages() -> None:
    """Copy the notebooks to the pages, which execute them."""
    for path in sorted(NOTEBOOKS.glob("*.md")):
        write_if_changed(PAGES / "notebooks" / path.name, path.read_text())


def cache_of_outputs() -> Path:
    """A folder of outputs for the package and the configuration as they are now.

    MyST-NB executes a notebook if its cells have changed; what they show also depends
    on the code that they call. Outputs of former versions are deleted.
    """
    digest = hashlib.sha256()
    package = ROOT / "src" / "normlab"
    for folder, kinds in ((package, SOURCES), (CONF, [".yaml"])):
        for path in sorted(folder.rglob("*")):
            if path.suffix in kinds:
                digest.update(path.read_bytes())
    folder = CACHE / digest.hexdigest()[:16]
    for former in CACHE.glob("*"):
        if former != folder:
            shutil.rmtree(former)
    return folder
