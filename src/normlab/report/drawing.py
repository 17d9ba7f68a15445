"""A figure with its words: how it looks, its files, and its element on the page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from normlab.files import refuse_link
from normlab.results import written_whole

INK = "#22262b"  # on the page it becomes the colour of the page's text
# The size of figures on the page, in the size of its text.
REM_PER_INCH = 7
LEAST_REM_PER_INCH = 4.4
FILE_KINDS = ("png", "svg", "pdf")

# A date in a file would make the files of two runs differ.
METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

INK_KEYS = (
    "text.color",
    "axes.labelcolor",
    "axes.edgecolor",
    "xtick.color",
    "ytick.color",
    "grid.color",
)
RC: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "normlab",
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "grid.alpha": 0.13,
    "axes.grid": True,
    **dict.fromkeys(INK_KEYS, INK),
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        name: The name of its files, without ending.
        title: A heading.
        caption: What is drawn, and over how many runs.
        description: What the figure shows, for readers who cannot see it.
        figure: The matplotlib figure.
    """

    name: str
    title: str
    caption: str
    description: str
    figure: Figure


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw figures in the style of the report while the context lasts."""
    with matplotlib.rc_context(RC):
        yield


def save_drawing(drawing: Drawing, folder: Path) -> list[Path]:
    """Write the figure as PNG, SVG and PDF, on white; return the paths.

    Raises:
        ValueError: The folder is a link.
    """
    refuse_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with figure_style():
        for kind in FILE_KINDS:
            path = folder / f"{drawing.name}.{kind}"
            with written_whole(path) as temporary:
                drawing.figure.savefig(
                    temporary,
                    format=kind,
                    dpi=160,
                    facecolor="white",
                    metadata=METADATA[kind],
                )
            paths.append(path)
    return paths


def inline_svg(drawing: Drawing, identity: str) -> str:
    """The figure as an SVG element for a page.

    Its ids start with `identity`, its ink has the colour of the surrounding text, and
    its description is there for screen readers.
    """
    svg = _transparent_svg(drawing.figure)
    svg = re.sub(r"(?s)^.*?(?=<svg )|<metadata>.*?</metadata>", "", svg)
    svg = svg.replace(INK, "currentColor")
    # Ids must be unique on the page.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{identity}-", svg)

    # Below its least width the figure scrolls sideways in a box of its own, so that
    # its text stays readable on a phone.
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    inches = drawing.figure.get_figwidth()
    size = (
        f"max-width: {inches * REM_PER_INCH:.1f}rem; "
        f"min-width: {inches * LEAST_REM_PER_INCH:.1f}rem"
    )
    words = escape(f"{drawing.title}. {drawing.description}")
    attributes = f'style="{size}" role="img" aria-label="{words}"'
    return svg.replace("<svg ", f"<svg {attributes} ", 1)


def _transparent_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with figure_style():
        figure.patch.set_alpha(0)
        for axis in figure.axes:
            axis.patch.set_alpha(0)
        figure.savefig(buffer, format="svg", transparent=True, metadata=METADATA["svg"])
    return buffer.getvalue()
