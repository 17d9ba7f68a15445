"""The extension of Sphinx that generates pages and checks what the others say."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.logging import getLogger

from docs import (
    agreement,
    architecture,
    command_lines,
    configuration,
    norm_pages,
    notebooks,
)
from docs.docstrings import with_literal_blocks
from docs.keys import unknown_keys
from docs.names import missing_names
from normlab.config.schema import undocumented

LOGGER = getLogger(__name__)
MATHJAX = ("tex-chtml.js", "output/chtml/fonts")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", generate)
    app.connect("source-read", check_page)
    app.connect("autodoc-process-docstring", mark_formulas, priority=100)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def generate(app: Sphinx) -> None:
    """Write the generated pages and fragments into the source folder.

    Raises:
        ExtensionError: keys of the configuration have no comment.
    """
    if missing := undocumented():
        lines = "\n".join(f"  {line}" for line in missing)
        raise ExtensionError(
            f"every key of conf/ needs a comment that says what it means:\n{lines}"
        )
    configuration.write_pages()
    norm_pages.write_pages()
    agreement.write_page()
    architecture.write_fragments()
    command_lines.write_fragments()
    notebooks.write_pages()


def check_page(app: Sphinx, page: str, content: list[str]) -> None:
    """Warn of settings, files and names in a page that do not exist."""
    for line, word, hint in unknown_keys(content[0]):
        LOGGER.warning("%s is no setting%s", word, hint, location=(page, line))
    for line, word in missing_names(content[0]):
        LOGGER.warning("%s does not exist", word, location=(page, line))


def mark_formulas(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keep the lines of formulas in plain text: indented blocks of a docstring."""
    lines[:] = with_literal_blocks(lines)


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax 3.2.2 and its fonts, so that formulas need no network."""
    if error is not None or app.builder.format != "html":
        return
    package = find_spec("sphinx-mathjax-offline")
    source = Path(package.submodule_search_locations[0]) / "static" / "mathjax"
    for name in MATHJAX:
        target = Path(app.outdir) / "_static" / "mathjax" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, target)
