"""The notebooks' experiments, run again: what is run, with which data, and the document that comes of it."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from reproduction.document import Section, absent, document, section

from normlab.compare.runs import load_runs, setting_columns
from normlab.compare.settings import label
from normlab.config.identity import configuration_directory
from normlab.signals import STOP_SIGNALS
from normlab.study.plans import (
    composed,
    label_of,
    lacking_runs,
    planned_runs,
    unplanned,
)

PLAN = Path(__file__).with_name("reproduce.yaml")


def read_plan(path: Path = PLAN) -> dict[str, dict[str, Any]]:
    """The experiments in their order, by name."""
    return yaml.safe_load(path.read_text())


def command(name: str, entry: dict[str, Any], data: str, seeds: int) -> list[str]:
    """The sweep of an experiment, as words of a command line after `python`."""
    axes = [f"{key}={values}" for key, values in entry["sweep"].items()]
    root = [f"dataset.root={data}"] if "needs" in entry else []
    return [
        "train.py",
        "-m",
        "hydra/launcher=queue",
        f"experiment={name}",
        *axes,
        f"seed=range({seeds})",
        *root,
    ]


def run_sweep(words: list[str], outputs: Path) -> None:
    """Run a sweep; what an earlier one finished is there at once.

    Raises:
        RuntimeError: a run failed.
        SystemExit: the sweep was stopped by a signal, and no other one should begin.
    """
    ended = subprocess.run(
        [sys.executable, *words, f"paths.outputs={outputs}"], check=False
    )
    if ended.returncode in {128 + number for number in STOP_SIGNALS}:
        sys.exit(ended.returncode)
    if ended.returncode:
        raise RuntimeError(
            f"python {shlex.join(words)} ended with exit code {ended.returncode}; see its lines above"
        )


def missing_data(entry: dict[str, Any], data: str) -> str | None:
    """The first file that an experiment needs and the data folder lacks, if any."""
    return next(
        (
            needed
            for needed in entry.get("needs", [])
            if not (Path(data) / needed).is_file()
        ),
        None,
    )


def write_results(
    path: Path,
    data: str,
    outputs: Path,
    seeds: int,
    only: list[str] | None = None,
    write_only: bool = False,
) -> None:
    """Run the plan (or parts of it) and write the document.

    Args:
        path: of the Markdown file; figures go into a folder `results` beside it.
        data: folder of the data sets; experiments whose data are not there are named and left out.
        outputs: folder of the runs.
        seeds: runs an arm.
        only: names of the experiments to run; the document shows all that have runs.
        write_only: run nothing.

    Raises:
        ValueError: an unknown experiment, no seeds.
        RuntimeError: a sweep failed; the others were run and the document is written.
    """
    plan = read_plan()
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    if unknown := [name for name in only or () if name not in plan]:
        raise ValueError(
            f"--only must name some of {', '.join(plan)}, got {unknown[0]}"
        )
    wanted = (
        {}
        if write_only
        else {
            name: entry for name, entry in plan.items() if only is None or name in only
        }
    )
    failures = _run(wanted, data, outputs, seeds)
    sections = [
        _section(name, entry, data, outputs, seeds, path.parent, name in failures)
        for name, entry in plan.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(sections))
    print(f"written: {path}", file=sys.stderr)
    if failures:
        raise RuntimeError("\n".join(failures.values()))


def _run(
    plan: dict[str, dict[str, Any]], data: str, outputs: Path, seeds: int
) -> dict[str, str]:
    """Run every experiment that has its data; the names of those that failed, and how."""
    failures = {}
    for name, entry in plan.items():
        if missing := missing_data(entry, data):
            print(f"{name} is left out: {data} holds no {missing}", file=sys.stderr)
            continue
        words = command(name, entry, data, seeds)
        print(f"python {shlex.join(words)}", file=sys.stderr)
        try:
            run_sweep(words, outputs)
        except RuntimeError as error:
            failures[name] = f"{name}: {error}"
    return failures


def _section(
    name: str,
    entry: dict[str, Any],
    data: str,
    outputs: Path,
    seeds: int,
    folder: Path,
    failed: bool,
) -> Section:
    """Of an experiment with runs, or why it has no result."""
    shown = shlex.join(["python", *command(name, entry, "DATA", seeds)])
    missing = missing_data(entry, data)
    why = (
        f"the data folder holds no `{missing}`"
        if missing
        else "its sweep failed"
        if failed
        else "it was left out"
    )
    if not (outputs / name).is_dir():
        return absent(name, entry, shown, why)
    try:
        found = load_runs(outputs / name)
        runs = planned(name, entry, found, data, seeds)
        if runs.empty:
            return absent(
                name,
                entry,
                shown,
                f"none of the {len(found)} runs in its folder is one of this command",
            )
        notes = [*_left_out(runs, found), *lacking_runs(_axes(entry, seeds), runs)]
        return section(name, entry, runs, shown, folder / "results", notes)
    except ValueError as error:  # too few runs, which more runs will cure
        return absent(name, entry, shown, str(error).partition(":")[0])


def planned(
    name: str, entry: dict[str, Any], runs: pd.DataFrame, data: str, seeds: int
) -> pd.DataFrame:
    """The runs that the experiment's command makes, wherever their data lay; each once.

    Args:
        name: of the experiment.
        entry: of the plan.
        runs: from `load_runs`, whatever is in the experiment's folder.
        data: folder of the data sets; of two runs that differ in nothing else the one on these is kept.
        seeds: runs an arm.
    """
    axes = _axes(entry, seeds)
    kept = ~unplanned(axes, runs)[0]
    for picked in planned_runs(
        {key: axes[key] for key in axes if (configuration_directory() / key).is_dir()}
    ):
        settings = composed(f"experiment={name}", picked)
        alike = [runs[key].map(label) == label_of(text) for key, text in picked.items()]
        of_these = pd.concat(alike, axis=1).all(axis=1)
        for key in set(setting_columns(runs)) & settings.keys() - axes.keys():
            kept &= ~of_these | (runs[key].map(label) == label(settings[key]))
    elsewhere = runs.reindex(columns=["dataset.root"])["dataset.root"].map(
        label
    ) != label(data)
    ordered = runs[kept].loc[elsewhere[kept].sort_values(kind="stable").index]
    return ordered.drop_duplicates(list(axes)).sort_index()


def _axes(entry: dict[str, Any], seeds: int) -> dict[str, Any]:
    return {**entry["sweep"], "seed": f"range({seeds})"}


def _left_out(runs: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """A line about the other runs of the folder."""
    others = len(found) - len(runs)
    if not others:
        return []
    which = (
        "1 other run in the folder is"
        if others == 1
        else f"{others} other runs in the folder are"
    )
    return [
        f"{which} left out: made with other settings than this command's, or again with data in another place."
    ]
