"""What all benchmarks share: arms in turns, medians, rows, runs by configuration."""

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
from dataclasses import dataclass, replace
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
        what: What was measured.
        against: What it was measured against.
        value: The value of the first, in `unit`.
        reference: The value of the second, in `unit`.
        reach: The ratio to reach: at most, or with `faster` at least.
        faster: Whether the ratio is reference / value instead of value / reference.
        unit: The unit of both values.
        note: A note in the last column.
        ratios: The ratios of several processes; the row then holds their medians.
    """

    what: str
    against: str
    value: float
    reference: float
    reach: float
    faster: bool = False
    unit: str = "s"
    note: str = ""
    ratios: tuple[float, ...] = ()

    @property
    def ratio(self) -> float:
        if self.ratios:
            return statistics.median(self.ratios)
        if self.faster:
            return self.reference / self.value
        return self.value / self.reference

    @property
    def reached(self) -> str:
        """Whether the median ratio reaches the mark, and whether all of them do."""
        if not self._reaches(self.ratio):
            return "no"
        if all(map(self._reaches, self.ratios)):
            return "yes"
        return "by the median only"

    def _reaches(self, ratio: float) -> bool:
        return ratio >= self.reach if self.faster else ratio <= self.reach

    def cells(self) -> list[str]:
        """The cells of the row, one for every header of COLUMNS."""
        faster = " faster" if self.faster else ""
        ratio = f"{self.ratio:.2f} x{faster}"
        if len(self.ratios) > 1:
            ratio += f" ({min(self.ratios):.2f} to {max(self.ratios):.2f})"
        bound = "at least" if self.faster else "at most"
        return [
            self.what,
            self.against,
            f"{_short(self.value)} {self.unit}",
            f"{_short(self.reference)} {self.unit}",
            ratio,
            f"{bound} {self.reach:g} x{faster}",
            self.reached,
            self.note,
        ]


def combined(processes: list[list[Row]]) -> list[Row]:
    """The rows of a script that ran in several processes, as one table.

    Args:
        processes: The rows that every process measured, in the same order.

    Returns:
        Rows with the median of both values and all ratios. The note is that of the
        process whose ratio is the median.
    """
    found = []
    for same in zip(*processes, strict=True):
        ratios = sorted(row.ratio for row in same)
        middle = statistics.median_low(ratios)
        typical = next(row for row in same if row.ratio == middle)
        found.append(
            replace(
                typical,
                value=statistics.median(row.value for row in same),
                reference=statistics.median(row.reference for row in same),
                ratios=tuple(ratios),
            )
        )
    return found


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


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(rows: list[Row]) -> None:
    """Print rows as a Markdown table."""
    print(markdown(rows))


def markdown(rows: list[Row]) -> str:
    """Rows as a Markdown table, without the last column if there are no notes."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [row.cells() for row in rows]
    width = len(COLUMNS)
    if not any(row.note for row in rows):
        width -= 1
    return "\n".join(f"| {' | '.join(line[:width])} |" for line in lines)


def take_turns(
    arms: dict[str, Callable[[], float | list[float]]],
    rounds: int,
    warm_up: bool = True,
) -> dict[str, float]:
    """Measure arms in turns, so that other load on the machine affects all alike.

    Args:
        arms: Functions that return one measurement, or several.
        rounds: The number of turns of each arm.
        warm_up: Whether one more turn comes first and is not counted.

    Returns:
        The median of every arm.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + warm_up):
        for name, measure in arms.items():
            seconds = measure()
            if number >= warm_up:
                found[name] += seconds if isinstance(seconds, list) else [seconds]
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def in_new_process(function: Callable, *arguments: object) -> object:
    """Call a function of a module in a new interpreter; return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """Make an arm of a function: the arm returns how many seconds it took."""

    def measure() -> float:
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    return measure


def configured(*overrides: str) -> dict:
    """The resolved configuration that `python train.py *overrides` would run.

    The device is the CPU unless the overrides name another.
    """
    words = list(overrides)
    if not any(word.startswith("device=") for word in overrides):
        words.insert(0, "device=cpu")
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        composed = compose("config", overrides=words, return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    config = OmegaConf.to_container(composed, resolve=False)
    del config["hydra"]
    return OmegaConf.to_container(OmegaConf.create(config), resolve=True)


@contextmanager
def terminal() -> Iterator[None]:
    """Make standard error a terminal, so that runs draw their progress bar."""
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
    except OSError:  # Linux reports a closed other end so
        pass


def epoch_seconds(*overrides: str) -> list[float]:
    """Run with the progress bar; return the recorded seconds of later epochs."""
    from normlab.training.experiment import run

    with tempfile.TemporaryDirectory() as outputs, terminal():
        config = configured(*overrides, f"paths.outputs={outputs}")
        result = run(config)
        if result["status"] != "finished":
            raise RuntimeError(
                f"the run of {' '.join(overrides)} {result['status']}: "
                f"{result['reason']}"
            )
        return recorded_epochs(run_folder(config))


def recorded_epochs(folder: Path) -> list[float]:
    """Seconds of every epoch but the first of the run in a folder."""
    with open(folder / "metrics.csv") as file:
        ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [after - before for before, after in pairwise(ends)]


def photographs(root: str) -> Path | None:
    """The folder of Tiny-ImageNet, or of a part of it, if there is one."""
    folders = sorted(Path(root).glob("tiny-imagenet-*"))
    return next((path for path in folders if (path / "wnids.txt").is_file()), None)
