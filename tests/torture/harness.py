"""Kill, damage and starve real runs, and compare them with undisturbed ones.

    make torture        (or: python tests/torture/harness.py --help)

Runs are processes, forked from a server that has imported everything; they are killed
with SIGKILL.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import damages
import kills
import mutations
import subjects
from killed_sweeps import killed_sweep
from runs import configuration, report, undisturbed

SHORT = (
    "trainer.max_epochs=2",
    "dataset.batch_size=128",
    "checkpoint.every_n_steps=5",
)  # 2 x 9 steps
# Other parts of the state: an optimizer's and a norm's of another kind, other logs.
OTHER = (
    *SHORT,
    "optimizer=adam",
    "norm=batch_renorm",
    "scheduler=none",
    "logger=[csv]",
    "model=lenet5",
)
STOPPING = (
    *SHORT[1:],
    "trainer.max_epochs=20",
    "trainer.patience=1",
    "optimizer.lr=2",
)  # after some two epochs
PROCESSES = (
    "optimizer=adam",
    "norm.sync=true",
    "trainer.max_epochs=3",
    "device.accelerator=cpu",
)
# Kilobytes; the run needs some 1,100.
DISKS = (40, 100, 200, 300, 400, 500, 600, 700, 800, 1000, 1200)
Scenario = Callable[[], dict | None]


def disturbances(scratch: Path, moments: int) -> dict[str, Scenario]:
    """The scenarios of runs that are killed, stopped, starved and met by others.

    Args:
        scratch: an empty folder.
        moments: number of kills at random moments.
    """
    folder = partial(_new_folder, scratch)
    long = configuration("trainer.max_epochs=30")
    short, stopping = configuration(*SHORT), configuration(*STOPPING)
    ddp, fsdp = (
        configuration(f"device={name}", *PROCESSES) for name in ("ddp", "fsdp")
    )
    expected = undisturbed(short, folder("short"))
    changes = kills.changes_of(short, folder("changes"))
    whole = partial(undisturbed, long, folder("long"))
    return {
        "killed at every change to a file": lambda: kills.at_every_change(
            short, folder("every")
        ),
        "the same with other settings": lambda: kills.at_every_change(
            configuration(*OTHER), folder("other")
        ),
        "killed while stopping early": lambda: kills.while_stopping_early(
            stopping, folder("stopping")
        ),
        "killed while beginning anew": lambda: kills.while_beginning_anew(
            short, folder("anew"), expected
        ),
        "asked to stop": lambda: kills.stopped(long, folder("stopped"), whole()),
        "two processes at once": lambda: kills.together(
            short, folder("together"), expected
        ),
        "files damaged": lambda: damages.damaged(
            short, folder("damaged"), expected, changes
        ),
        "full disk": lambda: damages.full_disk(short, folder("disk"), expected, DISKS),
        "ddp, first process killed": lambda: kills.in_processes(ddp, folder("ddp"), 3),
        "fsdp, first process killed": lambda: kills.in_processes(
            fsdp, folder("fsdp"), 3
        ),
        "sweep with a crash, divergence and kills": lambda: killed_sweep(
            folder("sweep")
        ),
        "killed at random moments": lambda: kills.at_random_moments(
            long, folder("random"), moments
        ),
    }


def stored_files(scratch: Path, number: int) -> dict[str, Scenario]:
    """The scenarios of stored files that are damaged at random, one for every kind.

    Args:
        scratch: an empty folder.
        number: of damages in all.
    """
    found = subjects.make(_new_folder(scratch, "stored"))
    whole = sum(subjects.SHARES.values())
    return {
        f"damaged at random: {kind}": partial(
            mutations.mutate,
            found[kind],
            _new_folder(scratch, kind),
            round(share * number / whole),
        )
        for kind, share in subjects.SHARES.items()
    }


def _new_folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    folder.mkdir()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=60, help="at random moments (%(default)s)"
    )
    parser.add_argument(
        "--mutations", type=int, default=1000, help="of stored files (%(default)s)"
    )
    parser.add_argument(
        "--only", metavar="WORD", help="the scenarios that have this in their names"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scenarios: dict[str, Scenario] = {}
        if options.mutations:
            scenarios |= stored_files(Path(folder), options.mutations)
        if options.kills:
            scenarios |= disturbances(Path(folder), options.kills)
        found = [
            report(name, scenario)
            for name, scenario in scenarios.items()
            if (options.only or "") in name
        ]
    figures = [each for each in found if each]
    for what in ("kills", "mutations"):
        print(f"{sum(each.get(what, 0) for each in figures)} {what} in all")
    sys.exit(any(each["wrong"] for each in figures))


if __name__ == "__main__":
    main()
