"""Whole processes: cold start, a run from the shell, peak memory.

    python benchmarks/process.py DATA

DATA is the folder that holds MNIST/. Processes use as many threads as they choose by
themselves; the bare loop uses one.
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


def command(*words: str) -> Callable[[], float]:
    """Make an arm that runs `python *words` in the checkout, without output."""

    def measure() -> float:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, *words], cwd=ROOT, check=True, capture_output=True
        )
        return time.perf_counter() - started

    return measure


def first_step(*words: str) -> Callable[[], float]:
    """Make an arm that runs until the first optimizer step is on the disk."""

    def measure() -> float:
        with tempfile.TemporaryDirectory() as outputs:
            started = time.perf_counter()
            process = subprocess.Popen(
                [
                    sys.executable,
                    "train.py",
                    *words,
                    "checkpoint.every_n_steps=1",
                    f"paths.outputs={outputs}",
                ],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while not any(Path(outputs).rglob("last.ckpt")):
                if process.poll() is not None:
                    raise RuntimeError(
                        f"train.py {' '.join(words)} ended with status "
                        f"{process.returncode}"
                    )
                time.sleep(0.005)
            seconds = time.perf_counter() - started
            process.kill()
            process.wait()
        return seconds

    return measure


def peak_memory(*words: str) -> Callable[[], float]:
    """Make an arm that measures the peak memory of `python *words`, in MiB."""

    def measure() -> float:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"python {' '.join(words)} ended with status {status}")
        return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

    return measure


def start_rows(root: str, outputs: str, rounds: int) -> list[Row]:
    """Cold starts; the note has the cost of a first step without normlab."""
    stored = ["train.py", "trainer.max_epochs=1", f"paths.outputs={outputs}/stored"]
    step = (
        "import torch; net = torch.nn.Linear(2, 1); "
        "optimizer = torch.optim.SGD(net.parameters(), lr=0.1); "
        "net(torch.ones(1, 2)).sum().backward(); optimizer.step()"
    )
    arms = {
        "torch": command("-c", "import torch"),
        "help": command("train.py", "--help"),
        "stored": command(*stored),
        "first": first_step("norm=torch"),
        "first of MNIST": first_step(
            "experiment=mlp_mnist", "norm=torch", f"dataset.root={root}"
        ),
        "bare": command("-c", step),
        "lightning": command("-c", f"import pytorch_lightning; {step}"),
    }
    median = take_turns(arms, rounds)
    against = "`python -c 'import torch'`"
    torch = median["torch"]
    floor = (
        f"a bare step takes {median['bare'] / torch:.2f} x, with Lightning imported "
        f"{median['lightning'] / torch:.2f} x"
    )
    return [
        Row("`python train.py --help`", against, median["help"], torch, 0.5),
        Row(
            "`python train.py`, the result is stored",
            against,
            median["stored"],
            torch,
            0.5,
        ),
        Row(
            "`python train.py`, until the first step's checkpoint",
            against,
            median["first"],
            torch,
            2.5,
            note=floor,
        ),
        Row(
            "the same, `experiment=mlp_mnist`",
            against,
            median["first of MNIST"],
            torch,
            2.5,
            note=floor,
        ),
    ]


def run_rows(root: str, outputs: str, rounds: int) -> list[Row]:
    ours = [
        "train.py",
        "experiment=mlp_mnist",
        "norm=torch",
        f"dataset.root={root}",
        f"paths.outputs={outputs}/cold",
    ]
    arms = {
        "normlab": command(*ours, "rerun=true"),
        "notebook": command("benchmarks/notebook.py", root),
    }
    median = take_turns(arms, rounds, warm_up=False)
    name = "`python train.py experiment=mlp_mnist`, 10 epochs, whole process"
    return [
        Row(
            name,
            "the notebook as a script",
            median["normlab"],
            median["notebook"],
            4,
            faster=True,
        )
    ]


def memory_rows(root: str, outputs: str, rounds: int) -> list[Row]:
    ours = [
        "train.py",
        "experiment=mlp_mnist",
        "norm=torch",
        f"dataset.root={root}",
        "trainer.max_epochs=2",
    ]
    ours += [f"paths.outputs={outputs}/memory", "rerun=true"]
    arms = {
        "normlab": peak_memory(*ours),
        "bare": peak_memory("benchmarks/bare.py", root, "2"),
    }
    arms["libraries"] = peak_memory("-c", "import pytorch_lightning")
    median = take_turns(arms, rounds, warm_up=False)
    note = f"importing Lightning alone takes {median['libraries']:.0f} MiB"
    return [
        Row(
            "peak memory of an MNIST run",
            "bare loop",
            median["normlab"],
            median["bare"],
            1.3,
            unit="MiB",
            note=note,
        )
    ]


def rows(root: str, rounds: int = 1) -> list[Row]:
    with tempfile.TemporaryDirectory() as outputs:
        return [
            *start_rows(root, outputs, rounds),
            *run_rows(root, outputs, rounds),
            *memory_rows(root, outputs, rounds),
        ]


if __name__ == "__main__":
    show(rows(str(Path(sys.argv[1]).resolve())))
