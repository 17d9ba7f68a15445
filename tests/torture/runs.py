"""Runs as processes that may be killed, and what must be the same in the end."""

import csv
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_points import KillPoints

from normlab.config.identity import run_folder
from normlab.sweeps.workers import STOP_SIGNALS, start_server

# What a result holds of the time and the memory that its run took. The digests of its
# files are among it, since these hold times, too.
CLOCKS = (
    *("seconds", "samples_per_second", "step_milliseconds", "outside_share"),
    *("compile_seconds", "processor_seconds"),
    *("peak_memory_mib", "peak_device_memory_mib"),
    "files",
)
EVENTS = "events.out"  # what the names of TensorBoard's files begin with
# What runs and searches import late would cost each process most of its time.
PRELOAD = (
    "normlab.main",
    "normlab.training.train",
    "normlab.compare.curves",
    "normlab.evaluation.evaluate",
    "normlab.search.driver",
    "sklearn.datasets",
    "sklearn.model_selection",
    "tensorboard.backend.event_processing.event_accumulator",
)


def work(config: dict, status: Path, kill_points: KillPoints | None) -> None:
    """What a run's process does; `status` gets how it ended."""
    import torch

    from normlab.training.experiment import run

    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if kill_points is not None:
        kill_points.install()
    try:
        ended = run(config)["status"]
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    status.write_text(ended)


class Run:
    """One process that trains a configuration.

    It is forked from a server that has imported everything.
    """

    def __init__(
        self, config: dict, status: Path, kill_points: KillPoints | None = None
    ) -> None:
        self.status = status
        status.unlink(missing_ok=True)
        context = start_server(PRELOAD)
        self.process = context.Process(target=work, args=(config, status, kill_points))
        self.process.start()

    def ended(self, timeout: float = 300) -> str:
        """How the run ended."""
        self.process.join(timeout)
        return (
            self.status.read_text()
            if self.status.is_file()
            else f"exit code {self.process.exitcode}"
        )

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """False where the run had ended before."""
        if self.process.exitcode is None:
            os.kill(self.process.pid, number)
        self.process.join(60)
        return not self.status.is_file()


def called(function: Callable, *arguments: Any) -> None:
    """Call a function in a process of its own, forked like those of runs."""
    process = start_server(PRELOAD).Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{function.__name__}: {process.exitcode}"


def configuration(*overrides: str) -> dict:
    """A run with all kinds of state: dropout, schedule, momentum, early stopping."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from normlab.config.identity import configuration_directory

    words = ["device=cpu", "optimizer.lr=0.02", "scheduler=cosine", "model.dropout=0.2"]
    words += [] if "optimizer=adam" in overrides else ["optimizer.momentum=0.9"]
    words += [
        "checkpoint.every_n_steps=7",
        "checkpoint.every_seconds=0",
        "trainer.patience=50",
        "progress=false",
    ]
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        composed = compose(
            "config", overrides=[*words, *overrides], return_hydra_config=True
        )
    HydraConfig.instance().set_config(composed)
    config = OmegaConf.to_container(composed, resolve=False)
    del config["hydra"]
    return OmegaConf.to_container(OmegaConf.create(config), resolve=True)


def at(config: dict, outputs: Path) -> dict:
    """The same run in another folder."""
    return config | {"paths": {"outputs": str(outputs)}}


def outcome(folder: Path) -> dict[str, Any]:
    """Everything of a run that must be the same in the end.

    Bytes of the weights, logs without times, events and results.
    """
    from normlab.results import read_result
    from normlab.training.checkpoint_files import load

    with open(folder / "metrics.csv") as file:
        rows = [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]
    state, result = load(folder / "checkpoints" / "last.ckpt"), read_result(folder)
    return {
        "best.ckpt": (folder / "checkpoints" / "best.ckpt").read_bytes(),
        "last weights": b"".join(
            value.numpy().tobytes() for value in state["network"].values()
        ),
        "metrics.csv": rows,
        "statistics.csv": (folder / "statistics.csv").read_text()
        if (folder / "statistics.csv").is_file()
        else "",
        "result.json": {
            key: value for key, value in result.items() if key not in CLOCKS
        },
        EVENTS: curves_in_tensorboard(folder),
        "files": sorted(path.name for path in folder.rglob("*") if is_of_the_run(path)),
    }


def curves_in_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def is_of_the_run(path: Path) -> bool:
    """Whether every run has this file; events have any name, `previous` is optional."""
    return (
        path.is_file()
        and path.name != "previous.ckpt"
        and not path.name.startswith(EVENTS)
    )


def differences(folder: Path, expected: dict) -> list[str]:
    """Names of what came out otherwise."""
    found = outcome(folder)
    return [name for name in expected if found[name] != expected[name]]


def undisturbed(config: dict, scratch: Path) -> dict:
    """What comes out of a run that is left alone."""
    config = at(config, scratch / "undisturbed")
    ended = Run(config, scratch / "status").ended()
    assert ended == "finished", ended
    return outcome(run_folder(config))


def finish(config: dict, scratch: Path, expected: dict, what: str) -> list[str]:
    """Resume a disturbed run to its end, and name the differences.

    Its folder is deleted.
    """
    ended = Run(config, scratch / "status").ended()
    found = (
        differences(run_folder(config), expected) if ended == "finished" else [ended]
    )
    shutil.rmtree(config["paths"]["outputs"])
    return [f"{what}: {name}" for name in found]


def report(name: str, scenario: Callable[[], dict | None]) -> dict | None:
    """Run a scenario and print its figures."""
    figures = scenario()
    if figures is None:
        print(f"{name}: not done here", flush=True)
        return None
    counts = ", ".join(
        f"{value} {key}" for key, value in figures.items() if key != "wrong"
    )
    number = len(figures["wrong"])
    found = f"{number} WRONG" if number else "all as undisturbed"
    print(f"{name}: {counts}; {found}", *figures["wrong"], sep="\n  ", flush=True)
    return figures
