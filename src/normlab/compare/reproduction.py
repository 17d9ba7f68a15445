"""The notebooks' experiments, run again and written down: every number below a heading comes from the runs."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from normlab.compare.comparison import Comparison, compare
from normlab.compare.figures import style
from normlab.compare.run_figures import learning_curves
from normlab.compare.runs import check_key, load_runs, read_curves
from normlab.compare.sentences import number, signed
from normlab.compare.tables import contrast_table, markdown, summary_table

HEADING = """# Results

The experiments of the five course notebooks, run again with the arms that they lacked. `make reproduce DATA=FOLDER`
writes this file from the runs themselves. Every score is in evaluation mode, with the state of the best validation
epoch; the test part was read once a run. Intervals are t intervals over seeds; p-values are exact sign-flip tests of
pairs with the same seed, corrected by Holm's method."""
PLAN = Path(__file__).resolve().parents[3] / "scripts" / "reproduce.yaml"


def read_plan(path: Path = PLAN) -> dict[str, dict[str, Any]]:
    """The experiments in their order, by name."""
    return yaml.safe_load(path.read_text())


def command(name: str, entry: dict[str, Any], data: str, seeds: int) -> list[str]:
    """The sweep of an experiment, as words of a command line after `python`."""
    axes = [f"{key}={values}" for key, values in entry["sweep"].items()]
    root = [f"dataset.root={data}"] if "needs" in entry else []
    return ["train.py", "-m", f"experiment={name}", *axes, f"seed=range({seeds})", *root]


def run_sweep(words: list[str], outputs: Path) -> None:
    """Run a sweep; what an earlier one finished is there at once.

    Raises:
        RuntimeError: a run failed.
    """
    ended = subprocess.run([sys.executable, *words, f"paths.outputs={outputs}"], check=False)
    if ended.returncode:
        raise RuntimeError(f"python {shlex.join(words)} ended with exit code {ended.returncode}; see its lines above")


def missing_data(entry: dict[str, Any], data: str) -> str | None:
    """The file that an experiment needs and the data folder lacks, if any."""
    needed = entry.get("needs")
    return str(needed) if needed and not (Path(data) / needed).is_file() else None


def section(name: str, entry: dict[str, Any], folder: Path, seeds: int, figures: Path) -> str:
    """Heading, command, tables, sentences and what the notebook had, as Markdown; draws the curves."""
    words = shlex.join(["python", *command(name, entry, "DATA", seeds)])
    lines = [f"## {entry['title']}", f"```\n{words}\n```"]
    runs = load_runs(folder)
    comparisons = [_compare(runs, options) for options in entry["comparisons"]]
    lines.append(markdown(summary_table(comparisons[0])))
    for comparison in comparisons:
        lines.append(markdown(contrast_table(comparison)))
        lines += [f"- {text}" for text in comparison.contrasts["sentence"]]
    if "curves" in entry:
        lines.append(_draw(comparisons[0], name, figures))
        lines.append(_curve_table(comparisons[0], entry))
    lines += [norm_layers(comparisons[0]), *_notebook(comparisons[0], entry)]
    lines += [f"- Note: {text}" for comparison in comparisons for text in comparison.warnings]
    return "\n\n".join(dict.fromkeys(line for line in lines if line))


def _compare(runs: pd.DataFrame, options: dict[str, Any]) -> Comparison:
    return compare(runs, within=[], **options)


def norm_layers(comparison: Comparison) -> str:
    """How many norm layers and parameters every arm really had."""
    told = []
    for arm in comparison.arms:
        runs = comparison.runs[comparison.runs["arm"] == arm]
        keys = ("num_norm_layers", "num_parameters")
        counts = {key: sorted({int(value) for value in runs[key].dropna()}) for key in keys}
        layers, parameters = (" or ".join(f"{value:,}" for value in values) for values in counts.values())
        told.append(f"{arm} {layers} norm layers and {parameters} parameters")
    return f"Counted in the networks: {'; '.join(told)}."


def _draw(comparison: Comparison, name: str, figures: Path) -> str:
    with style():
        drawing = learning_curves(comparison)
        if drawing is None:
            return ""
        figures.mkdir(parents=True, exist_ok=True)
        drawing.figure.savefig(figures / f"{name}.png", dpi=110, facecolor="white")
    return f"![{drawing.description}]({figures.name}/{name}.png)"


def _curve_table(comparison: Comparison, entry: dict[str, Any]) -> str:
    """Losses at the epochs that the notebook printed, else at the first and last, beside the notebook's."""
    printed = entry["notebook"].get("arms", {})
    curves = read_curves(comparison.runs, entry["curves"])
    curves["arm"] = curves["index"].map(comparison.runs["arm"])
    rows = []
    for metric in entry["curves"]:
        told = {epoch for arm in printed.values() for epoch in arm.get(metric, {})}
        for epoch in sorted(told) or [1, int(curves["epoch"].max())]:
            for arm in comparison.arms:
                values = curves.loc[(curves["arm"] == arm) & (curves["epoch"] == epoch), metric].to_numpy(float)
                rows.append([metric, epoch, arm, *_spread(values), _printed(printed, arm, metric, epoch)])
    columns = ["metric", "epoch", "arm", "n", "mean", "SD", "min", "max", "notebook"]
    if not printed:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _spread(values: np.ndarray) -> list[str]:
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return [str(len(values)), *(["–"] * 4)]
    shown = (values.mean(), values.std(ddof=1), values.min(), values.max())
    return [str(len(values)), *map(number, shown)]


def _printed(printed: dict, arm: str, metric: str, epoch: int) -> str:
    value = printed.get(arm, {}).get(metric, {}).get(epoch)
    return "–" if value is None else number(value)


def _notebook(comparison: Comparison, entry: dict[str, Any]) -> list[str]:
    """What the notebook printed of the compared metric, against the interval here, and what was wrong with it."""
    notebook, told = entry["notebook"], []
    printed = {
        arm: values[comparison.metric]
        for arm, values in notebook.get("arms", {}).items()
        if comparison.metric in values
    }
    for row in comparison.contrasts.to_dict("records"):
        if row["arm"] in printed and row["baseline"] in printed:
            gap = printed[row["arm"]] - printed[row["baseline"]]
            holds = "holds" if row["low"] <= gap <= row["high"] else "does not hold"
            told.append(
                f"**Against the notebook.** It printed {number(printed[row['baseline']])} for {row['baseline']} and "
                f"{number(printed[row['arm']])} for {row['arm']}, a difference of {signed(gap)}. Here it is "
                f"{signed(row['difference'])}, and the interval from {signed(row['low'])} to {signed(row['high'])} "
                f"{holds} the notebook's."
            )
    return [*told, f"**What was wrong with it.** {notebook['flaws'].strip()}"]


def write_results(
    document: Path, data: str, outputs: Path, seeds: int, only: list[str] | None = None, write_only: bool = False
) -> None:
    """Run the plan (or parts of it) and write the document.

    Args:
        document: the Markdown file; figures go into a folder `results` beside it.
        data: folder of the data sets; experiments whose data are not there are named and left out.
        outputs: folder of the runs.
        seeds: runs an arm.
        only: names of the experiments to run; the document shows all that have runs.
        write_only: run nothing.

    Raises:
        ValueError: an unknown experiment.
        RuntimeError: a run failed.
    """
    plan = read_plan()
    for name in only or ():
        check_key(name, plan, "experiment")
    sections = []
    for name, entry in plan.items():
        missing = missing_data(entry, data)
        if not (write_only or missing or (only and name not in only)):
            run_sweep(command(name, entry, data, seeds), outputs)
        if (outputs / name).is_dir():
            sections.append(section(name, entry, outputs / name, seeds, document.parent / "results"))
        else:
            why = f"DATA holds no {missing}" if missing else "it was left out"
            words = shlex.join(["python", *command(name, entry, "DATA", seeds)])
            sections.append(f"## {entry['title']}\n\nNot run here: {why}.\n\n```\n{words}\n```")
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text("\n\n".join([HEADING, *sections]) + "\n")
