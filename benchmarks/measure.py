"""What all benchmarks share: arms that take turns, medians, rows, and runs by configuration."""

import csv
import os
import pty
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory, run_folder


@dataclass(frozen=True)
class Row:
    """A ratio measured side by side in one run.

    Attributes:
        what: was measured.
        against: what.
        value: of the first, in `unit`.
        reference: of the second.
        reach: the ratio to reach; with `faster`, how many times faster than the second.
        faster: the ratio is reference / value.
        unit: of both.
        note: shown behind.
    """

    what: str
    against: str
    value: float
    reference: float
    reach: float
    faster: bool = False
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        return (
            self.reference / self.value if self.faster else self.value / self.reference
        )

    @property
    def reached(self) -> bool:
        return self.ratio >= self.reach if self.faster else self.ratio <= self.reach

    def cells(self) -> list[str]:
        """As text: what, against, both values, ratio, reach, reached."""
        ratio = f"{self.ratio:.2f} x" + (" faster" if self.faster else "")
        reach = f"at {'least' if self.faster else 'most'} {self.reach:g} x" + (
            " faster" if self.faster else ""
        )
        values = [
            f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            for value in (self.value, self.reference)
        ]
        values = [f"{value} {self.unit}" for value in values]
        return [
            self.what,
            self.against,
            *values,
            ratio,
            reach,
            "yes" if self.reached else "no",
            self.note,
        ]


COLUMNS = [
    "what",
    "against",
    "normlab",
    "the other",
    "ratio",
    "to reach",
    "reached",
    "note",
]


def show(rows: list[Row]) -> None:
    """Print rows as a Markdown table."""
    print(markdown(rows))


def markdown(rows: list[Row]) -> str:
    """Rows as a Markdown table, the last column left out where nothing is noted."""
    cells = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    width = len(COLUMNS) if any(row.note for row in rows) else len(COLUMNS) - 1
    return "\n".join("| " + " | ".join(line[:width]) + " |" for line in cells)


def take_turns(
    arms: dict[str, Callable[[], float | list[float]]],
    rounds: int,
    warm_up: bool = True,
) -> dict[str, float]:
    """Median of every arm; the arms take turns, so that whatever else the machine does hits all alike.

    Args:
        arms: functions that return one measurement, or several.
        rounds: turns of each.
        warm_up: one more turn comes first and is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + warm_up):
        for name, measure in arms.items():
            seconds = measure()
            if number >= warm_up:
                found[name] += seconds if isinstance(seconds, list) else [seconds]
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def in_new_process(function: Callable, *arguments: object) -> object:
    """What a function of a module returns in an interpreter that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """The function as an arm: it returns its own seconds."""

    def measure() -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return measure


def configured(*overrides: str) -> dict:
    """The resolved configuration that `python train.py *overrides` would run, on the CPU unless they say otherwise."""
    words = (
        ["device=cpu", *overrides]
        if not any(word.startswith("device=") for word in overrides)
        else overrides
    )
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        composed = compose("config", overrides=list(words), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    config = OmegaConf.to_container(composed, resolve=False)
    del config["hydra"]
    return OmegaConf.to_container(OmegaConf.create(config), resolve=True)


@contextmanager
def terminal() -> Iterator[None]:
    """While open, standard error is a terminal that nobody looks at, so that runs draw their progress bar."""
    ours, theirs = pty.openpty()
    reader = threading.Thread(target=_read_all, args=(ours,), daemon=True)
    reader.start()
    with open(theirs, "w") as stream, redirect_stderr(stream):
        yield
    reader.join()
    os.close(ours)


def _read_all(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:  # how Linux says that the other end is closed
        pass


def epoch_seconds(*overrides: str) -> list[float]:
    """Seconds of every epoch but the first of a whole run with its progress bar, as the run itself recorded them."""
    from normlab.training.experiment import run

    with tempfile.TemporaryDirectory() as outputs, terminal():
        config = configured(*overrides, f"paths.outputs={outputs}")
        result = run(config)
        if result["status"] != "finished":
            raise RuntimeError(
                f"the run of {' '.join(overrides)} {result['status']}: {result['reason']}"
            )
        return recorded_epochs(run_folder(config))


def recorded_epochs(folder: Path) -> list[float]:
    """Seconds of every epoch but the first of the run in a folder."""
    with open(folder / "metrics.csv") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [after - before for before, after in pairwise(ends)]


def photographs(root: str) -> Path | None:
    """The Tiny-ImageNet in a folder of data sets, whole or a cut of it, if there is one."""
    folders = sorted(Path(root).glob("tiny-imagenet-*"))
    return next((path for path in folders if (path / "wnids.txt").is_file()), None)
