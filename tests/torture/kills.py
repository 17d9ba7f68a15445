"""Kill runs: at random moments, at every change to their files, in processes."""

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from kill_points import KillPoints
from runs import Run, at, finish, outcome, undisturbed

from normlab.config.identity import run_folder


def at_random_moments(config: dict, scratch: Path, moments: int, seed: int = 0) -> dict:
    """Kill runs at random moments, resume each, and count the differences."""
    generator, kills, runs, wrong = random.Random(seed), 0, 0, []
    expected = undisturbed(config, scratch)
    started = time.monotonic()
    undisturbed(config, scratch / "again")
    seconds = time.monotonic() - started
    while kills < moments:
        disturbed = at(config, scratch / f"killed-{runs}")
        for _ in range(generator.choice([1, 1, 2, 3])):
            run = Run(disturbed, scratch / "status")
            time.sleep(generator.uniform(0, 1.05 * seconds))
            kills += run.kill()
        wrong += finish(disturbed, scratch, expected, f"run {runs}")
        runs += 1
    return {"kills": kills, "runs": runs, "wrong": wrong}


def changes_of(config: dict, scratch: Path) -> list[str]:
    """Names of the changes that an undisturbed run makes to its files, in order."""
    config = at(config, scratch / "counted")
    ended = Run(
        config,
        scratch / "status",
        KillPoints(run_folder(config), names=scratch / "changes"),
    ).ended()
    assert ended == "finished", ended
    shutil.rmtree(scratch / "counted")
    return (scratch / "changes").read_text().splitlines()


def one_of_each(changes: Sequence[str]) -> list[int]:
    """Numbers of changes, counted from 1: the last but one of every kind.

    At these, the files exist already.
    """
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(changes, start=1):
        numbers.setdefault(name, []).append(number)
    return sorted(of_a_kind[-2:][0] for of_a_kind in numbers.values())


def at_changes(
    config: dict, scratch: Path, numbers: Sequence[int], expected: dict
) -> dict:
    """Kill a run at each of these changes, and let it go on."""
    kills, wrong = 0, []
    for number in numbers:
        disturbed = at(config, scratch / f"change-{number}")
        run = Run(
            disturbed, scratch / "status", KillPoints(run_folder(disturbed), number)
        )
        kills += run.ended() == f"exit code {-signal.SIGKILL}"
        wrong += finish(disturbed, scratch, expected, f"change {number}")
    return {"kills": kills, "wrong": wrong}


def at_every_change(config: dict, scratch: Path) -> dict:
    """Kill a run at every change that an undisturbed one makes, and let it go on."""
    expected = undisturbed(config, scratch)
    changes = changes_of(config, scratch)
    return at_changes(config, scratch, range(1, len(changes) + 1), expected)


def while_stopping_early(
    config: dict, scratch: Path, kinds: Sequence[str] = ()
) -> dict:
    """Kill a run that stops early at every change from its last row on; resume it."""
    expected = undisturbed(config, scratch)
    assert expected["result.json"]["epochs"] < config["trainer"]["max_epochs"], (
        "its patience does not run out"
    )
    changes = changes_of(config, scratch)
    first = len(changes) - changes[::-1].index("half of metrics.csv")
    ending = range(first, len(changes) + 1)
    return at_changes(
        config,
        scratch,
        [i for i in ending if not kinds or changes[i - 1] in kinds],
        expected,
    )


def while_beginning_anew(config: dict, scratch: Path, expected: dict) -> dict:
    """Kill a `rerun=true` of a finished run at every deletion.

    Without `rerun=true`, the run is then finished or can be resumed.
    """
    kills, wrong, number, died = 0, [], 0, True
    while died:
        number += 1
        disturbed = at(config, scratch / f"anew-{number}")
        assert Run(disturbed, scratch / "status").ended() == "finished"
        points = KillPoints(
            run_folder(disturbed), number, names=scratch / f"deletions-{number}"
        )
        Run(disturbed | {"rerun": True}, scratch / "status", points).ended()
        died = (
            (scratch / f"deletions-{number}")
            .read_text()
            .splitlines()[-1]
            .startswith("delete")
        )
        kills += died
        wrong += finish(disturbed, scratch, expected, f"deletion {number}")
    return {"kills": kills, "wrong": wrong}


def in_processes(config: dict, scratch: Path, moments: int, seed: int = 0) -> dict:
    """Kill the first process of a run, and start the run again at once.

    The other processes do not learn of it.
    """
    generator, kills, wrong = random.Random(seed), 0, []
    expected = undisturbed(config, scratch)
    for moment in range(moments):
        disturbed = at(config, scratch / f"processes-{moment}")
        run = Run(disturbed, scratch / "status")
        checkpoint = run_folder(disturbed) / "checkpoints" / "last.ckpt"
        while not checkpoint.is_file() and run.process.exitcode is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.5))
        kills += run.kill()
        wrong += finish(disturbed, scratch, expected, f"run {moment}")
    return {"kills": kills, "wrong": wrong}


def stopped(config: dict, scratch: Path, expected: dict) -> dict:
    """Ask runs to stop, by every signal, and let them go on."""
    wrong, numbers = [], (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    for number in numbers:
        disturbed = at(config, scratch / f"stopped-{number}")
        run = Run(disturbed, scratch / "status")
        while (
            not (run_folder(disturbed) / "checkpoints" / "previous.ckpt").is_file()
            and run.process.exitcode is None
        ):
            time.sleep(0.01)
        os.kill(run.process.pid, number)
        ended = run.ended()
        wrong += (
            []
            if ended.startswith(f"Interrupted: stopped by {number.name}")
            else [f"{number.name}: {ended}"]
        )
        wrong += finish(disturbed, scratch, expected, number.name)
    return {"signals": len(numbers), "wrong": wrong}


def together(config: dict, scratch: Path, expected: dict) -> dict:
    """Start two processes on one configuration at once."""
    config = at(config, scratch / "together")
    runs = [Run(config, scratch / f"status-{number}") for number in range(2)]
    wrong = [text for text in [run.ended() for run in runs] if text != "finished"]
    found = outcome(run_folder(config))
    return {
        "processes": 2,
        "wrong": wrong + [name for name in expected if found[name] != expected[name]],
    }
