"""Run every benchmark and write docs/results/benchmarks.md: `make bench DATA=FOLDER`.

    python benchmarks/run_all.py DATA [--only norms sweep] [--processes 5] [--out FILE]

DATA is the folder that holds MNIST/ and tiny-imagenet-20/ or tiny-imagenet-200/. Every
script runs in several processes of its own, in turns with the other scripts, so that a
row shows how far its ratio repeats; the machine should have nothing else to do. If a
script fails, the document says why, and the others run. With --only, the document keeps
what it says about the other scripts.
"""

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version
from pathlib import Path

from measure import Row, combined, in_new_process, markdown

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks.md"
PACKAGES = ("torch", "torchvision", "pytorch_lightning", "hydra-core")
WITH_DATA = {
    "training": "Training and evaluation, one thread",
    "counts": "A training step, counted",
    "process": "Whole processes",
    "images": "Augmented images",
    "features": "A frozen network's features, one thread",
    "norm_statistics": "What the statistics of the norms add, one thread",
    "stacked": "Runs as one stacked network",
    "gpu": "On a CUDA device",
}
NO_ROWS = {
    "gpu": "there is no CUDA device here",
    "features": "the folder holds no photographs",
}
WITHOUT_DATA = {
    "norms": "The custom batch norm, one thread",
    "sweep": "Sweeps",
    "load_runs": "Many runs into one table",
}
TITLES = WITH_DATA | WITHOUT_DATA


def _rows(name: str, *arguments: str) -> list[Row]:
    return importlib.import_module(name).rows(*arguments)


def measured(
    names: list[str], data: str, processes: int
) -> dict[str, list[list[Row]] | Exception]:
    """The rows of every process of every script, or the error that ended it."""
    found = {name: [] for name in names}
    for turn in range(processes):
        for name in names:
            if isinstance(found[name], Exception):
                continue
            arguments = [data] if name in WITH_DATA else []
            started = time.monotonic()
            try:
                found[name].append(in_new_process(_rows, name, *arguments))
            except Exception as error:  # whatever it is, the other scripts run
                found[name] = error
            minutes = (time.monotonic() - started) / 60
            print(
                f"{name}, process {turn + 1} of {processes}: {minutes:.1f} min",
                file=sys.stderr,
                flush=True,
            )
    return found


def section(name: str, found: list[list[Row]] | Exception) -> str:
    """The part of the document about one script."""
    shown = f"python benchmarks/{name}.py"
    if name in WITH_DATA:
        shown += " DATA"
    head = f"## {TITLES[name]}\n\n`{shown}`, {date.today()}"
    if isinstance(found, Exception):
        return f"{head}\n\n**Failed**: {type(found).__name__}: {found}\n"
    rows = combined(found)
    if not rows:
        return f"{head}\n\nNot measured: {NO_ROWS[name]}.\n"
    processes = "one process" if len(found) == 1 else f"{len(found)} processes"
    return f"{head}, {processes}, {processor()}\n\n{markdown(rows)}\n"


def machine() -> str:
    """Processor, cores, memory, system and versions, in one line."""
    memory = [
        int(line.split()[1]) / 2**20
        for line in _lines("/proc/meminfo")
        if line.startswith("MemTotal")
    ]
    parts = [processor(), f"{os.cpu_count()} cores"]
    parts += [f"{memory[0]:.0f} GiB"] if memory else []
    versions = [f"{package} {version(package)}" for package in PACKAGES]
    return ", ".join(
        [*parts, platform.system(), f"Python {platform.python_version()}", *versions]
    )


def processor() -> str:
    """The name of the processor."""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def document(sections: list[str]) -> str:
    return (
        "# Benchmarks\n\n"
        f"This page is written by `make bench DATA=FOLDER`, here on {machine()}.\n\n"
        "Both sides of a row are measured in turns, in one run of its script, and the "
        "script is run in several processes. Times and ratios are the medians of the "
        "processes; the smallest and the largest ratio stand in parentheses. The "
        "column `reached` says which rows miss their goal, and which reach it by the "
        "median only, since the range crosses it. normlab runs with everything that "
        "is on by default: metrics, TensorBoard, statistics of the norms, checkpoints "
        "and the progress bar.\n\n" + "\n".join(sections)
    )


def earlier_sections(path: Path, measured: Iterable[str]) -> dict[str, str]:
    """Sections of an earlier document about other scripts, by script."""
    texts = path.read_text().split("\n## ")[1:] if path.is_file() else []
    titles = {title: name for name, title in TITLES.items() if name not in measured}
    found = {
        titles.get(text.partition("\n")[0]): f"## {text.rstrip()}\n" for text in texts
    }
    return {name: text for name, text in found.items() if name}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with MNIST/ and photographs")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=TITLES,
        metavar="SCRIPT",
        help=f"of {', '.join(TITLES)}",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=5,
        help="number of processes of every script (default 5)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DOCUMENT,
        help="where to write (default docs/results/benchmarks.md)",
    )
    options = parser.parse_args()
    if not (options.data / "MNIST" / "raw").is_dir():
        print(
            f"error: {options.data} must hold MNIST/raw/; it does not", file=sys.stderr
        )
        sys.exit(2)
    wanted = options.only or list(TITLES)
    done = measured(wanted, str(options.data.resolve()), options.processes)
    texts = earlier_sections(options.out, wanted)
    texts |= {name: section(name, found) for name, found in done.items()}
    options.out.write_text(document([texts[name] for name in TITLES if name in texts]))
    print(f"written: {options.out}", file=sys.stderr)
    sys.exit(any(isinstance(found, Exception) for found in done.values()))


if __name__ == "__main__":
    main()
