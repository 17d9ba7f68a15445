"""24 small runs as single commands, as a sweep in one process, and in workers.

    python benchmarks/sweep.py [EPOCHS]

EPOCHS is the number of epochs of a run, 10 by default.
"""

import sys
import tempfile
from itertools import product

from measure import Row, show
from process import command

AXES = {
    "norm": ["none", "torch", "custom"],
    "optimizer.lr": ["0.1", "0.01"],
    "seed": ["0", "1", "2", "3"],
}
SWEEP = [f"{key}={','.join(values)}" for key, values in AXES.items()]
JOBS = 24


def single_commands(*words: str) -> float:
    """Seconds of one command per combination, one after the other."""
    jobs = [
        [f"{key}={value}" for key, value in zip(AXES, values, strict=True)]
        for values in product(*AXES.values())
    ]
    return sum(command("train.py", *job, *words)() for job in jobs)


def rows(epochs: int = 10) -> list[Row]:
    few = [f"trainer.max_epochs={epochs}", "progress=false"]
    with tempfile.TemporaryDirectory() as outputs:
        single = single_commands(f"paths.outputs={outputs}/one", *few)
        sequential = command(
            "train.py", "-m", *SWEEP, f"paths.outputs={outputs}/sweep", *few
        )()
        queue = command(
            "train.py",
            "-m",
            "hydra/launcher=queue",
            *SWEEP,
            f"paths.outputs={outputs}/queue",
            *few,
        )()
    name = f"{JOBS} runs of digits, {epochs} epochs each: a sweep"
    return [
        Row(name, f"{JOBS} single commands", sequential, single, 0.25),
        Row(
            f"{name}, hydra/launcher=queue",
            f"{JOBS} single commands",
            queue,
            single,
            0.25,
        ),
        Row(
            f"{name}, hydra/launcher=queue",
            "the sweep in one process",
            queue,
            sequential,
            0.6,
        ),
    ]


if __name__ == "__main__":
    show(rows(*map(int, sys.argv[1:2])))
