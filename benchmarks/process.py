"""Whole processes: cold start, a run from the shell, a sweep, peak memory.

python benchmarks/process.py DATA        (the folder that holds MNIST/)
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import Row, show, take_turns

ROOT = Path(__file__).resolve().parents[1]
SWEEP = ["norm=none,torch,custom", "optimizer.lr=0.1,0.01", "seed=range(4)"]
JOBS = 24
BARE = """
import sys; sys.path.insert(0, 'benchmarks')
import training, notebook
epoch = training.bare_epoch(notebook.network(), training.mnist(sys.argv[1]), 64, fused=True)
for _ in range(2): epoch()
"""


def command(*words: str) -> Callable[[], float]:
    """An arm that runs `python *words` in the checkout, quietly."""

    def measure() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - started

    return measure


def peak_memory(*words: str) -> float:
    """Largest resident size of `python *words`, in MiB."""
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"python {' '.join(words)} ended with status {status}")
    return usage.ru_maxrss / 1024


def start_rows(outputs: str, rounds: int) -> list[Row]:
    first = ["train.py", "trainer.max_epochs=1", "rerun=true", f"paths.outputs={outputs}/first", "progress=false"]
    stored = ["train.py", "trainer.max_epochs=2", f"paths.outputs={outputs}/stored"]
    arms = {
        "torch": command("-c", "import torch"),
        "lightning": command("-c", "import pytorch_lightning, torchvision"),
        "help": command("train.py", "--help"),
        "first": command(*first),
        "stored": command(*stored),
    }
    median = take_turns(arms, rounds)
    lightning = f"importing Lightning and torchvision alone takes {median['lightning'] / median['torch']:.1f} x"
    return [
        Row("train.py --help", "python -c 'import torch'", median["help"], median["torch"], 0.5),
        Row("train.py, a stored result", "python -c 'import torch'", median["stored"], median["torch"], 0.5),
        Row(
            "train.py, one epoch of digits",
            "python -c 'import torch'",
            median["first"],
            median["torch"],
            2.5,
            note=lightning,
        ),
    ]


def run_rows(root: str, outputs: str) -> list[Row]:
    ours = ["train.py", "experiment=mlp_mnist", "norm=torch", f"dataset.root={root}", f"paths.outputs={outputs}/cold"]
    arms = {"normlab": command(*ours, "rerun=true"), "notebook": command("benchmarks/notebook.py", root)}
    median = {name: measure() for name, measure in arms.items()}
    name = "10 epochs of the MLP on MNIST, whole process"
    return [Row(name, "the notebook as a script", median["normlab"], median["notebook"], 4, faster=True)]


def sweep_rows(outputs: str) -> list[Row]:
    few = ["trainer.max_epochs=3", "progress=false"]
    single = 0.0
    for norm in ("none", "torch", "custom"):
        for lr in ("0.1", "0.01"):
            for seed in range(4):
                words = [f"norm={norm}", f"optimizer.lr={lr}", f"seed={seed}", f"paths.outputs={outputs}/single"]
                single += command("train.py", *words, *few)()
    sequential = command("train.py", "-m", *SWEEP, *few, f"paths.outputs={outputs}/sweep")()
    queue = command("train.py", "-m", "hydra/launcher=queue", *SWEEP, *few, f"paths.outputs={outputs}/queue")()
    name = f"sweep of {JOBS} runs of digits"
    return [
        Row(name, f"{JOBS} single commands", sequential, single, 0.25),
        Row(f"{name}, hydra/launcher=queue", f"{JOBS} single commands", queue, single, 0.25),
        Row(f"{name}, hydra/launcher=queue", "the sweep in one process", queue, sequential, 0.6),
    ]


def memory_rows(root: str, outputs: str) -> list[Row]:
    ours = ["train.py", "experiment=mlp_mnist", "norm=torch", f"dataset.root={root}", "trainer.max_epochs=2"]
    value = peak_memory(*ours, f"paths.outputs={outputs}/memory", "progress=false")
    return [Row("peak memory of an MNIST run", "bare loop", value, peak_memory("-c", BARE, root), 1.3, unit="MiB")]


def rows(root: str, rounds: int = 3) -> list[Row]:
    with tempfile.TemporaryDirectory() as outputs:
        return [
            *start_rows(outputs, rounds),
            *run_rows(root, outputs),
            *sweep_rows(outputs),
            *memory_rows(root, outputs),
        ]


if __name__ == "__main__":
    show(rows(str(Path(sys.argv[1] if len(sys.argv) > 1 else "data").resolve())))
