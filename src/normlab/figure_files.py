"""Files of figures that commands write where the user asks for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from normlab.results import written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")


def check_figure_path(path: Path) -> None:
    """Refuse what `--out` cannot name, before anything is computed.

    Args:
        path: of the figure.

    Raises:
        ValueError: the ending is not one of `ENDINGS`, or the folder does not exist.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"--out must end in .png, .svg or .pdf, got {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out must lie in a folder that exists, got {path}")


def save_figure(
    figure: "Figure", path: Path, dpi: int, follow_links: bool = False
) -> None:
    """Write a figure on white; after an error, the file is as it was.

    Args:
        figure: what to write.
        path: the file, with one of `ENDINGS`.
        dpi: pixels per inch of a PNG.
        follow_links: see `normlab.results.written_whole`.
    """
    kind = path.suffix.removeprefix(".").lower()
    with written_whole(path, follow_links) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, facecolor="white")
