"""Run the notebooks' experiments again, and write the document about them."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from reproduction.document import Section, absent, document, section
from reproduction.notebook import Entry

from normlab.compare.columns import setting_columns
from normlab.compare.runs import load_runs
from normlab.compare.settings import setting_text
from normlab.config.identity import configuration_directory
from normlab.signals import STOP_SIGNALS
from normlab.study.deviations import composed_settings, is_interpolation
from normlab.study.plans import (
    missing_runs,
    override_text,
    planned_runs,
    unplanned_runs,
)

PLAN = Path(__file__).with_name("reproduce.yaml")


def read_plan(path: Path = PLAN) -> dict[str, Entry]:
    """The experiments of the plan by name, in the order of the document."""
    return yaml.safe_load(path.read_text())


def command(name: str, entry: Entry, data: str, seeds: int) -> list[str]:
    """The command line of an experiment's sweep: its words after `python`."""
    axes = [f"{key}={values}" for key, values in entry["sweep"].items()]
    root = []
    if "needs" in entry:
        root.append(f"dataset.root={data}")
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
    """Run a sweep; runs that an earlier sweep finished are not trained again.

    Raises:
        RuntimeError: A run failed.
        SystemExit: A signal stopped the sweep, so that no other one should start.
    """
    process = [sys.executable, *words, f"paths.outputs={outputs}"]
    code = subprocess.run(process, check=False).returncode
    if code - 128 in STOP_SIGNALS:
        sys.exit(code)
    if code:
        raise RuntimeError(
            f"python {shlex.join(words)} ended with exit code {code}; see "
            "its lines above"
        )


def missing_data(entry: Entry, data: str) -> str | None:
    """The first file that an experiment needs and the data folder lacks, if any."""
    for needed in entry.get("needs", []):
        if not (Path(data) / needed).is_file():
            return needed
    return None


def write_results(
    path: Path,
    data: str,
    outputs: Path,
    seeds: int,
    only: list[str] | None = None,
    write_only: bool = False,
) -> None:
    """Run the experiments of the plan, or some of them, and write the document.

    Args:
        path: The Markdown file; figures go into a folder `figures` beside it.
        data: The folder of the data sets; experiments whose data are missing are named
            and left out.
        outputs: The folder of the runs.
        seeds: The number of seeds per arm.
        only: The names of the experiments to run, all by default; the document shows
            all that have runs.
        write_only: Run nothing.

    Raises:
        ValueError: An unknown experiment, or fewer than one seed.
        RuntimeError: A sweep failed; the others ran and the document is written.
    """
    plan = read_plan()
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}")
    wanted = list(plan) if only is None else only
    for name in wanted:
        if name not in plan:
            raise ValueError(f"--only must name some of {', '.join(plan)}, got {name}")

    failures = {}
    if not write_only:
        # In the order of the plan, whatever the order of the names.
        chosen = {name: plan[name] for name in plan if name in wanted}
        failures = _run(chosen, data, outputs, seeds)

    sections = []
    for name, entry in plan.items():
        reason = _reason_for_absence(entry, data, name in failures)
        text = _section(name, entry, data, outputs, seeds, path.parent, reason)
        sections.append(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(sections))
    print(f"written: {path}", file=sys.stderr)
    if failures:
        raise RuntimeError("\n".join(failures.values()))


def _run(
    plan: dict[str, Entry], data: str, outputs: Path, seeds: int
) -> dict[str, str]:
    """Run the experiments that have their data; return how some of them failed."""
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
    entry: Entry,
    data: str,
    outputs: Path,
    seeds: int,
    folder: Path,
    reason: str,
) -> Section:
    """The section of an experiment; without runs it gives the reason."""
    shown = shlex.join(["python", *command(name, entry, "DATA", seeds)])
    if not (outputs / name).is_dir():
        return absent(name, entry, shown, reason)
    try:
        found = load_runs(outputs / name)
        runs = planned(name, entry, found, data, seeds)
        if runs.empty:
            reason = (
                f"none of the {len(found)} runs in its folder is one of this command"
            )
            return absent(name, entry, shown, reason)
        notes = [*_left_out(runs, found), *missing_runs(_axes(entry, seeds), runs)]
        return section(name, entry, runs, shown, folder / "figures", notes)
    except ValueError as error:  # too few runs, which more runs will cure
        return absent(name, entry, shown, str(error).partition(":")[0])


def _reason_for_absence(entry: Entry, data: str, failed: bool) -> str:
    """Why an experiment has no runs, if it has none."""
    missing = missing_data(entry, data)
    if missing:
        return f"the data folder holds no `{missing}`"
    if failed:
        return "its sweep failed"
    return "it was left out"


def planned(
    name: str, entry: Entry, runs: pd.DataFrame, data: str, seeds: int
) -> pd.DataFrame:
    """Keep the runs that the experiment's command makes, each once.

    Args:
        name: The name of the experiment.
        entry: Its entry in the plan.
        runs: All runs in its folder, as `load_runs` returns them.
        data: The folder of the data sets. The place of the data does not matter, but
            of two runs that differ in nothing else, the one with this place is kept.
        seeds: The number of seeds per arm.
    """
    axes = _axes(entry, seeds)
    is_unplanned, *_ = unplanned_runs(axes, runs)
    kept = ~is_unplanned

    # A group such as norm brings settings of its own: those of every choice are checked
    # for the runs that made it.
    folder = configuration_directory()
    choices = {key: values for key, values in axes.items() if (folder / key).is_dir()}
    swept = [key for key in axes if key not in choices]
    for picked in planned_runs(choices):
        matches = pd.Series(True, index=runs.index)
        for key, text in picked.items():
            texts = runs[key].map(setting_text)
            matches &= texts == override_text(text)
        settings = composed_settings(f"experiment={name}", picked, swept)
        for key in set(setting_columns(runs)) & settings.keys() - axes.keys():
            if is_interpolation(settings[key]):
                continue
            texts = runs[key].map(setting_text)
            is_same = texts == setting_text(settings[key])
            kept &= ~matches | is_same

    columns = runs.reindex(columns=["dataset.root"])
    roots = columns["dataset.root"].map(setting_text)
    is_elsewhere = roots[kept] != setting_text(data)
    order = is_elsewhere.sort_values(kind="stable").index
    distinct = runs.loc[order].drop_duplicates(list(axes))
    return distinct.sort_index()


def _axes(entry: Entry, seeds: int) -> dict[str, Any]:
    return {**entry["sweep"], "seed": f"range({seeds})"}


def _left_out(runs: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """A note about the other runs of the folder, if there are any."""
    others = len(found) - len(runs)
    if not others:
        return []
    which = f"{others} other runs in the folder are"
    if others == 1:
        which = "1 other run in the folder is"
    return [
        f"{which} left out: made with other settings than this command's, or again "
        "with data in another place."
    ]
