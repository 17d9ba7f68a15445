"""Measure stored runs, draw the pictures, and write them with a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from normlab.compare.runs import load_runs
from normlab.compare.settings import arm_labels, distinguishing_settings
from normlab.report.drawing import (
    FILE_KINDS,
    Drawing,
    figure_style,
    inline_svg,
    save_drawing,
)
from normlab.report.file_list import FIGURE_FOLDER, replaced_files, silent
from normlab.report.page import page_environment
from normlab.spreadsheets import without_formulas
from normlab.why.measure import Settings, measure_run
from normlab.why.pictures import Arms, Picture
from normlab.why.state_figures import draw_depth, draw_film, draw_surface
from normlab.why.step_figures import draw_covariate_shift, draw_landscape

FIGURES = (draw_landscape, draw_covariate_shift, draw_depth, draw_surface, draw_film)
PAGE = "why.html"


@dataclass(frozen=True)
class Explanation:
    """The pictures of some runs.

    Attributes:
        arms: what was measured of every run.
        pictures: the pictures in the order of the page.
        notes: what is missing and why, one sentence each.
    """

    arms: Arms
    pictures: list[Picture]
    notes: list[str]

    @property
    def drawings(self) -> dict[str, Drawing]:
        """The figures with their captions, by name."""
        return {picture.drawing.name: picture.drawing for picture in self.pictures}


def explain_runs(
    folders: Sequence[Path],
    settings: Settings | None = None,
    trusted: Sequence[str] = (),
    tell: Callable[[str], None] = silent,
) -> Explanation:
    """Measure runs and draw why their norms help, or do not.

    Nothing is written. Every run is trained again in memory for some steps, see
    `normlab.why.again`.

    Args:
        folders: run folders, or folders that contain runs.
        settings: how much is measured.
        trusted: packages of the user's own that the runs may call.
        tell: called with a sentence before each run is measured.

    Raises:
        ValueError: a folder holds no readable run, or a run calls other packages.
    """
    settings = settings or Settings()
    names = _arm_names(folders)
    runs = []
    for place, (folder, arm) in enumerate(names.items(), start=1):
        tell(f"measuring {folder.name} ({place} of {len(names)})")
        runs.append(measure_run(folder, arm, settings, trusted))
    arms = Arms(list(dict.fromkeys(names.values())), runs)
    with figure_style():
        found = [draw(arms) for draw in FIGURES]
    pictures = [picture for picture in found if picture is not None]
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    return Explanation(arms, pictures, notes)


def _arm_names(folders: Sequence[Path]) -> dict[Path, str]:
    """The arm of every run: its norm, and other settings by which the runs differ."""
    table = load_runs([Path(folder) for folder in folders])
    unreadable = table.attrs.get("unreadable", [])
    if unreadable:
        path, reason = unreadable[0]
        raise ValueError(f"{path} must be a run that can be read: {reason}")
    keys = distinguishing_settings(table, ["norm"])
    labels = arm_labels(table, ["norm", *keys])
    return dict(zip(map(Path, table["folder"]), labels, strict=True))


def write_explanation(
    explanation: Explanation, folder: Path, tell: Callable[[str], None] = silent
) -> Path:
    """Write figures, numbers and the page into a folder; return the path of the page.

    Files of an earlier explanation that this one lacks are removed.

    Args:
        explanation: from `explain_runs`.
        folder: it is made if it does not exist.
        tell: called with a sentence on files that were removed.
    """
    path = folder / PAGE
    with replaced_files(path, tell) as staged:
        for picture in explanation.pictures:
            save_drawing(picture.drawing, staged / FIGURE_FOLDER)
            table = without_formulas(picture.table)
            table.to_csv(staged / f"{picture.drawing.name}.csv", index=False)
        html = render_page(explanation) + "\n"
        (staged / PAGE).write_text(html, encoding="utf-8")
    return path


def render_page(explanation: Explanation) -> str:
    """The page as HTML, which needs no other file and no network."""
    source = resources.files("normlab.why").joinpath(PAGE).read_text(encoding="utf-8")
    figures = []
    for picture in explanation.pictures:
        svg = Markup(inline_svg(picture.drawing, f"figure-{picture.drawing.name}"))
        figures.append((picture, svg))
    arms = explanation.arms
    template = page_environment().from_string(source)
    return template.render(
        arms=arms.names,
        runs=[run.name for run in arms.runs],
        figures=figures,
        notes=explanation.notes,
        file_kinds=FILE_KINDS,
    )
