"""Kills, damages and starves real runs, and compares what comes out with an undisturbed one.

    make torture        (or: python tests/torture/harness.py)

Runs are processes, forked from a server that has imported everything, and die by SIGKILL at random moments.
"""

import csv
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from normlab.config import run_folder

LOGS = ("statistics.csv",)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["normlab.training", "tensorboard.backend.event_processing.event_accumulator"])


def work(config: dict, status: str) -> None:
    """What a run's process does; `status` names a file that gets how it ended."""
    from normlab.experiment import run

    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        ended = run(config)["status"]
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    Path(status).write_text(ended)


class Run:
    """One process that trains a configuration."""

    def __init__(self, config: dict, status: Path) -> None:
        self.status = status
        status.unlink(missing_ok=True)
        self.process = CONTEXT.Process(target=work, args=(config, str(status)))
        self.process.start()

    def ended(self, timeout: float = 120) -> str:
        """How the run ended."""
        self.process.join(timeout)
        return self.status.read_text() if self.status.is_file() else f"exit code {self.process.exitcode}"

    def kill(self, signal_number: int = signal.SIGKILL) -> bool:
        """False where the run had ended before."""
        if self.process.exitcode is not None:
            return False
        os.kill(self.process.pid, signal_number)
        self.process.join(60)
        return not self.status.is_file()


def outcome(folder: Path) -> dict:
    """Everything of a run that must come out the same: bytes of the weights, logs without clocks, events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    with open(folder / "metrics.csv") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        "best.ckpt": (folder / "checkpoints" / "best.ckpt").read_bytes(),
        "last weights": b"".join(value.numpy().tobytes() for value in state["network"].values()),
        "metrics.csv": rows,
        **{name: (folder / name).read_text() for name in LOGS},
        "TensorBoard": {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        },
    }


def differences(folder: Path, expected: dict) -> list[str]:
    """Names of what came out otherwise."""
    found = outcome(folder)
    return [name for name in expected if found[name] != expected[name]]


def undisturbed(config: dict, scratch: Path) -> tuple[dict, float]:
    """What comes out of a run that is left alone, and its seconds."""
    config = config | {"paths": {"outputs": str(scratch / "undisturbed")}}
    started = time.monotonic()
    assert Run(config, scratch / "status").ended() == "finished"
    return outcome(run_folder(config)), time.monotonic() - started


def killed(config: dict, scratch: Path, expected: dict, seconds: float, moments: int, seed: int = 0) -> dict:
    """Kill runs at `moments` random moments, let each go on, and count what came out otherwise."""
    generator, kills, runs, wrong = random.Random(seed), 0, 0, []
    while kills < moments:
        outputs = scratch / f"killed-{runs}"
        config = config | {"paths": {"outputs": str(outputs)}}
        for _ in range(generator.choice([1, 1, 2, 3])):
            run = Run(config, scratch / "status")
            time.sleep(generator.uniform(0, 1.05 * seconds))
            kills += run.kill()
        ended = Run(config, scratch / "status").ended()
        wrong += [f"run {runs}: {ended}"] if ended != "finished" else []
        wrong += (
            [f"run {runs}: {name}" for name in differences(run_folder(config), expected)] if ended == "finished" else []
        )
        shutil.rmtree(outputs)
        runs += 1
    return {"kills": kills, "runs": runs, "wrong": wrong}


def _killed_in_the_middle(config: dict, scratch: Path, seconds: float) -> Path:
    """A run killed after it has written at least two checkpoints."""
    folder = run_folder(config)
    run = Run(config, scratch / "status")
    deadline = time.monotonic() + 20 * seconds
    while not (folder / "checkpoints" / "previous.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.kill(), "the run ended before it had written two checkpoints"
    return folder


def newest(folder: Path) -> Path:
    """The last checkpoint; a run may have died after it set the one before aside."""
    return next(path for name in ("last.ckpt", "previous.ckpt") if (path := folder / name).is_file())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


DAMAGES = {
    "truncated": lambda folder, marker: truncate(newest(folder)),
    "one bit": lambda folder, marker: flip_a_bit(newest(folder)),
    "empty": lambda folder, marker: (newest(folder)).write_bytes(b""),
    "deleted": lambda folder, marker: (newest(folder)).unlink(),
    "both deleted": lambda folder, marker: [path.unlink() for path in folder.iterdir()],
    "both truncated": lambda folder, marker: [truncate(path) for path in folder.iterdir()],
    "hostile": lambda folder, marker: (newest(folder)).write_bytes(pickle.dumps(Hostile(marker))),
}


def damaged(config: dict, scratch: Path, expected: dict, seconds: float) -> dict:
    """Damage the checkpoint of a killed run in every way of `DAMAGES` and let it go on."""
    wrong = []
    for name, damage in DAMAGES.items():
        outputs = scratch / f"damaged-{name}"
        config = config | {"paths": {"outputs": str(outputs)}}
        folder = _killed_in_the_middle(config, scratch, seconds)
        damage(folder / "checkpoints", scratch / "marker")
        ended = Run(config, scratch / "status").ended()
        wrong += [f"{name}: {ended}"] if ended != "finished" else []
        wrong += [f"{name}: {found}" for found in differences(folder, expected)] if ended == "finished" else []
    wrong += ["hostile: its code was run"] if (scratch / "marker").exists() else []
    return {"damages": len(DAMAGES), "wrong": wrong}


def together(config: dict, scratch: Path, expected: dict) -> dict:
    """Start two processes on one configuration at once."""
    config = config | {"paths": {"outputs": str(scratch / "together")}}
    runs = [Run(config, scratch / f"status-{number}") for number in range(2)]
    ended = [run.ended() for run in runs]
    return {
        "processes": 2,
        "wrong": [*(text for text in ended if text != "finished"), *differences(run_folder(config), expected)],
    }


def full_disk(config: dict, scratch: Path, expected: dict, size: str = "1500k") -> dict | None:
    """Let a small disk run full, make room, and let the run go on; None where no disk may be mounted."""
    mount = scratch / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    try:
        config = config | {"paths": {"outputs": str(mount / "outputs")}}
        filler = mount / "filler"
        filler.write_bytes(b"0" * 700_000)
        first = Run(config, scratch / "status").ended()
        wrong = [] if first.startswith("DiskFull: no space is left") else [f"on a full disk: {first}"]
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        second = Run(config, scratch / "status").ended()
        wrong += [f"with room: {second}"] if second != "finished" else differences(run_folder(config), expected)
        return {"disks": 1, "wrong": wrong}
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def configuration(*overrides: str) -> dict:
    """A run of some seconds with everything in it that has state: dropout, schedule, momentum, early stopping."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from normlab.config import configuration_directory

    words = ["optimizer.momentum=0.9", "optimizer.lr=0.02", "scheduler=cosine", "model.dropout=0.2", "progress=false"]
    words += ["checkpoint.every_n_steps=7", "checkpoint.every_seconds=0", "trainer.patience=50", *overrides]
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        composed = compose("config", overrides=["device=cpu", *words], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    config = OmegaConf.to_container(composed, resolve=False)
    del config["hydra"]
    return OmegaConf.to_container(OmegaConf.create(config), resolve=True)


def main() -> None:
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    config = configuration("trainer.max_epochs=30")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        expected, seconds = undisturbed(config, scratch)
        _, seconds = undisturbed(config | {"seed": 1}, scratch)  # without the imports of the first
        print(f"an undisturbed run takes {seconds:.1f} s")
        found = {
            "killed at random moments": killed(config, scratch, expected, seconds, moments),
            "checkpoints damaged": damaged(config, scratch, expected, seconds),
            "two processes at once": together(config, scratch, expected),
            "full disk": full_disk(config, scratch, expected),
        }
    for name, figures in found.items():
        if figures is None:
            print(f"{name}: not done, no disk may be mounted here")
            continue
        counts = ", ".join(f"{value} {key}" for key, value in figures.items() if key != "wrong")
        print(f"{name}: {counts}; {'all as undisturbed' if not figures['wrong'] else figures['wrong']}")
    sys.exit(any(figures and figures["wrong"] for figures in found.values()))


if __name__ == "__main__":
    main()
