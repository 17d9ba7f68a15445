"""Kill, damage and starve real runs, and compare them with undisturbed ones.

    make torture        (or: python tests/torture/harness.py [RANDOM KILLS])

Runs are processes, forked from a server that has imported everything; they are killed
with SIGKILL.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import damages
import kills
from killed_sweeps import killed_sweep
from runs import configuration, report, undisturbed

SHORT = (
    "trainer.max_epochs=2",
    "dataset.batch_size=128",
    "checkpoint.every_n_steps=5",
)  # 2 x 9 steps
STOPPING = (
    *SHORT[1:],
    "trainer.max_epochs=20",
    "trainer.patience=1",
    "optimizer.lr=2",
)  # after some two epochs
DISKS = (
    40,
    100,
    200,
    300,
    400,
    500,
    600,
    700,
    800,
    1000,
    1200,
)  # kB; the run needs some 1,100


def main() -> None:
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    long, short, stopping = (
        configuration("trainer.max_epochs=30"),
        configuration(*SHORT),
        configuration(*STOPPING),
    )
    processes = [
        "optimizer=adam",
        "norm.sync=true",
        "trainer.max_epochs=3",
        "device.accelerator=cpu",
    ]
    with tempfile.TemporaryDirectory() as folder:
        scratch = [Path(folder) / str(number) for number in range(13)]
        for path in scratch:
            path.mkdir()
        expected = undisturbed(short, scratch[0])
        changes = kills.changes_of(short, scratch[0])
        scenarios = {
            "killed at random moments": partial(
                kills.at_random_moments, long, scratch[1], moments
            ),
            "killed at every change to a file": partial(
                kills.at_changes,
                short,
                scratch[2],
                range(1, len(changes) + 1),
                expected,
            ),
            "killed while stopping early": partial(
                kills.while_stopping_early, stopping, scratch[12]
            ),
            "killed while beginning anew": partial(
                kills.while_beginning_anew, short, scratch[3], expected
            ),
            "asked to stop": partial(
                kills.stopped, long, scratch[4], undisturbed(long, scratch[4] / "whole")
            ),
            "two processes at once": partial(
                kills.together, short, scratch[5], expected
            ),
            "files damaged": partial(
                damages.damaged, short, scratch[6], expected, changes
            ),
            "full disk": partial(damages.full_disk, short, scratch[7], expected, DISKS),
            "ddp, first process killed": partial(
                kills.in_processes,
                configuration("device=ddp", *processes),
                scratch[8],
                3,
            ),
            "fsdp, first process killed": partial(
                kills.in_processes,
                configuration("device=fsdp", *processes),
                scratch[9],
                3,
            ),
            "sweep with a crash, divergence and kills": partial(
                killed_sweep, scratch[10]
            ),
        }
        found = [report(name, scenario) for name, scenario in scenarios.items()]
    sys.exit(any(figures and figures["wrong"] for figures in found))


if __name__ == "__main__":
    main()
