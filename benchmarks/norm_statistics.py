"""Epochs with and without the statistics of the norm layers, on one thread.

    python benchmarks/norm_statistics.py DATA

DATA is the folder that holds MNIST/. Both arms write metrics and TensorBoard's curves.
Epochs after the first are summed, since runs on small data sets do not record every
epoch; the first epoch, which is always recorded, is part of the whole process.
"""

import sys
import tempfile

from measure import Row, epoch_seconds, show, take_turns
from process import command

COMMON = ["norm=custom", "device.threads=1"]
CASES = {
    "MLP 784-128-64-10, MNIST": ["experiment=mlp_mnist", "trainer.max_epochs=3"],
    "LeNet-5, MNIST": ["dataset=mnist", "model=lenet5", "trainer.max_epochs=2"],
    "MLP 64-128-64-10, digits": ["trainer.max_epochs=61"],
}


def rows(root: str, rounds: int = 3) -> list[Row]:
    """One row per network and data set, and one for a whole process."""
    found = []
    for name, words in CASES.items():
        words = [*COMMON, *words, f"dataset.root={root}"]
        arms = {
            "with": lambda words=words: sum(epoch_seconds(*words)),
            "without": lambda words=words: sum(
                epoch_seconds(*words, "statistics.every_n_epochs=0")
            ),
        }
        median = take_turns(arms, rounds)
        found.append(
            Row(
                f"epochs of {name}",
                "without statistics",
                median["with"],
                median["without"],
                1.05,
            )
        )
    return [*found, process_row(rounds)]


def process_row(rounds: int) -> Row:
    """The shortest run there is, on which a record weighs most."""
    with tempfile.TemporaryDirectory() as outputs:
        words = ["train.py", *COMMON, "rerun=true", f"paths.outputs={outputs}"]
        arms = {
            "with": command(*words),
            "without": command(*words, "statistics.every_n_epochs=0"),
        }
        median = take_turns(arms, rounds)
    return Row(
        "`python train.py`, 10 epochs of digits, whole process",
        "without statistics",
        *median.values(),
        reach=1.05,
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python benchmarks/norm_statistics.py DATA, "
            "the folder that holds MNIST/"
        )
    show(rows(sys.argv[1]))
