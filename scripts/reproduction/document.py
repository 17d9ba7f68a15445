"""The writer of docs/results/experiments.md, in which every number is of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from reproduction.conclusions import against_notebook, overview_cells
from reproduction.notebook import Entry, quoted_difference
from reproduction.tables import (
    arms_table,
    by_folds,
    count_cells,
    curve_table,
    differences,
    epochs_to_reach,
    rows_to_markdown,
)

from normlab.compare.comparison import Comparison, compare
from normlab.compare.settings import setting_text
from normlab.report.arm_figures import draw_arms
from normlab.report.drawing import figure_style
from normlab.report.learning_curves import draw_learning_curves

HEADING = """# The notebooks' experiments

The experiments of five course notebooks, run again with the arms that they lacked.
`make reproduce DATA=FOLDER` writes this file from the runs; what the notebooks printed,
from one run per arm and without a seed, is quoted beside it.

Every score here is in evaluation mode, with the state of the best validation epoch, and
every run read the test part once. Runs with the same seed share initial weights and
batches, so arms are compared pair by pair: intervals of the difference, and exact
sign-flip tests, with Holm's correction for the number of contrasts. Scores by
cross-validation are means over seeds in every fold, and their intervals allow for the
training data that folds share (Nadeau and Bengio, 2003): with k folds the test part is
taken to be 1/(k − 1) of the training part, which here includes the validation part.
`python scripts/compare.py outputs/NAME --out FOLDER` gives every other statistic.

AlexNet on Tiny-ImageNet needs pretrained weights and is not among these:
`experiment=alexnet_tiny_imagenet`."""

COMMIT = "environment.git.commit"
PLATFORM = "environment.platform"
# What is said of the origin of runs, and what it is called.
ORIGIN = {
    COMMIT: "commit",
    "environment.python": "Python",
    "environment.packages.torch": "PyTorch",
    "environment.packages.numpy": "NumPy",
    "environment.packages.scikit-learn": "scikit-learn",
    "environment.device.name": "device",
    "environment.device.threads": "threads",
    PLATFORM: "platform",
}


@dataclass(frozen=True)
class Section:
    """What the document says about one experiment.

    Attributes:
        overview: Cells of the table on top: experiment, notebook, here, conclusion.
        text: Markdown, with heading.
    """

    overview: list[str]
    text: str


def document(sections: list[Section]) -> str:
    """The whole file."""
    columns = ["experiment", "the notebook", "here", "so"]
    rows = []
    texts = []
    for section in sections:
        rows.append(section.overview)
        texts.append(section.text)
    table = rows_to_markdown(columns, rows, numbers=False)
    return "\n\n".join([HEADING, table, *texts]) + "\n"


def section(
    name: str,
    entry: Entry,
    runs: pd.DataFrame,
    command: str,
    figures: Path,
    notes: Sequence[str] = (),
) -> Section:
    """An experiment that has runs: tables, sentences, and a figure.

    Args:
        name: The name of the experiment.
        entry: Its entry in the plan.
        runs: Its runs, as `load_runs` returns them.
        command: The command line that makes them.
        figures: The folder to write the figure to.
        notes: What else a reader must know about these runs.
    """
    comparisons = []
    all_notes = list(notes)
    for options in entry["comparisons"]:
        comparison = compare(runs, within=[], **options)
        comparisons.append(comparison)
        all_notes += comparison.warnings

    first = comparisons[0]
    paragraphs = [
        arms_table(first, entry),
        *map(differences, comparisons),
        against_notebook(first, entry),
        epochs_to_reach(first, entry),
        _draw(first, name, figures),
    ]
    for metric in entry.get("curves", []):
        paragraphs.append(curve_table(first, entry, metric))
    paragraphs.append(origin(runs))
    for note in all_notes:
        paragraphs.append(f"Note: {note}")

    # The comparisons of one experiment have sentences and warnings in common.
    distinct = dict.fromkeys(filter(None, paragraphs))
    text = _in_words("\n\n".join(distinct), entry)
    overview = [_in_words(cell, entry) for cell in overview_cells(first, entry)]
    head = _head(entry, command)
    return Section(overview, "\n\n".join([f"## {entry['title']}", *head, text]))


def origin(runs: pd.DataFrame) -> str:
    """With what the runs were made: commit, versions and device."""
    named = {}
    for column, name in ORIGIN.items():
        if column not in runs:
            continue
        values = runs[column].dropna().map(setting_text)
        if column == PLATFORM:
            values = values.str.partition("-")[0]  # the rest is of one machine
        values = values.unique()
        if column == COMMIT:
            values = [f"`{value[:7]}`" for value in values]
        if len(values):
            named[name] = " and ".join(values)
    if not named:
        return ""
    words = [f"{name} {values}" for name, values in named.items()]
    return f"The {len(runs)} runs were made with {', '.join(words)}."


def _in_words(text: str, entry: Entry) -> str:
    """Replace settings in the names of arms by the words of the plan."""
    for setting, words in entry.get("words", {}).items():
        text = text.replace(setting, words)
    return text


def _head(entry: Entry, command: str) -> list[str]:
    flaws = entry["notebook"]["flaws"].strip()
    # The comment is for the test that runs the commands of the documentation.
    shown = f"<!-- small: seed=0 dry_run=true -->\n```console\n$ {command}\n```"
    return [f"**The notebook.** {flaws}", shown]


def _draw(comparison: Comparison, name: str, figures: Path) -> str:
    """Draw the arms of folds, or learning curves; return Markdown with the figure."""
    draw = draw_arms if by_folds(comparison) else draw_learning_curves
    with figure_style():
        drawing = draw(comparison)
        if drawing is None:
            return ""
        figures.mkdir(parents=True, exist_ok=True)
        path = figures / f"{name}.png"
        drawing.figure.savefig(path, dpi=160, facecolor="white")
    link = f"{figures.name}/{name}.png"
    return f"![{drawing.description}]({link})\n\n{drawing.caption}"


def absent(name: str, entry: Entry, command: str, reason: str) -> Section:
    """An experiment without runs: why, and what networks its arms have."""
    rows = []
    for arm, layers, parameters in networks(name, entry):
        rows.append([arm, *count_cells([layers], [parameters])])
    text = [
        f"## {entry['title']}",
        f"**No result here**: {reason}. Its networks, built without data:",
        rows_to_markdown(["arm", "norm layers", "parameters"], rows),
        *_head(entry, command),
    ]
    result = f"no result: {reason}"
    overview = [entry["title"], quoted_difference(entry), result, "–"]
    return Section(overview, "\n\n".join(text))


def networks(name: str, entry: Entry) -> list[tuple[str, int, int]]:
    """Build the networks of an experiment without data.

    Returns:
        Norm, number of norm layers and number of parameters of every arm.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from torch import nn

    from normlab.config.identity import configuration_directory
    from normlab.training.build import build_network
    from normlab.training.fit_check import declared_input, resolve_image_size

    counts = []
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        for norm in entry["sweep"]["norm"].split(","):
            config = compose("config", overrides=[f"experiment={name}", f"norm={norm}"])
            config = OmegaConf.to_container(config, resolve=False)
            inputs = declared_input(config["dataset"], resolve_image_size(config))
            network, norms = build_network(config, *inputs)
            layers = sum(not isinstance(layer, nn.Identity) for layer in norms.values())
            parameters = sum(parameter.numel() for parameter in network.parameters())
            counts.append((norm, layers, parameters))
    return counts
