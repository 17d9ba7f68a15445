"""The notebooks' experiments, run again: what is run, with which data, and the document that comes of it."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from normlab.compare.results_document import Section, absent, document, section

PLAN = Path(__file__).resolve().parents[3] / "scripts" / "reproduce.yaml"


def read_plan(path: Path = PLAN) -> dict[str, dict[str, Any]]:
    """The experiments in their order, by name."""
    return yaml.safe_load(path.read_text())


def command(name: str, entry: dict[str, Any], data: str, seeds: int) -> list[str]:
    """The sweep of an experiment, as words of a command line after `python`."""
    axes = [f"{key}={values}" for key, values in entry["sweep"].items()]
    root = [f"dataset.root={data}"] if "needs" in entry else []
    return ["train.py", "-m", "hydra/launcher=queue", f"experiment={name}", *axes, f"seed=range({seeds})", *root]


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


def write_results(
    path: Path, data: str, outputs: Path, seeds: int, only: list[str] | None = None, write_only: bool = False
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
        ValueError: an unknown experiment.
        RuntimeError: a run failed.
    """
    plan = read_plan()
    if unknown := [name for name in only or () if name not in plan]:
        raise ValueError(f"--only must name some of {', '.join(plan)}, got {unknown[0]}")
    for name in plan if not write_only else ():
        words, missing = command(name, plan[name], data, seeds), missing_data(plan[name], data)
        if missing and (only is None or name in only):
            print(f"{name} is left out: {data} holds no {missing}", file=sys.stderr)
        elif only is None or name in only:
            print(f"python {shlex.join(words)}", file=sys.stderr)
            run_sweep(words, outputs)
    sections = [_section(name, entry, data, outputs, seeds, path.parent) for name, entry in plan.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document(sections))
    print(f"written: {path}", file=sys.stderr)


def _section(name: str, entry: dict[str, Any], data: str, outputs: Path, seeds: int, folder: Path) -> Section:
    """Of an experiment with runs, or why it has no result."""
    shown = shlex.join(["python", *command(name, entry, "DATA", seeds)])
    missing = missing_data(entry, data)
    if not (outputs / name).is_dir():
        return absent(name, entry, shown, f"the data folder holds no `{missing}`" if missing else "it was left out")
    try:
        return section(name, entry, outputs / name, shown, folder / "results")
    except ValueError as error:  # too few runs, which more runs will cure
        return absent(name, entry, shown, str(error).partition(":")[0])
