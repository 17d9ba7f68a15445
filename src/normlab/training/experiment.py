"""One configuration to one result: finished before, gone on with, or made. Nothing heavy is imported for the first."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from normlab.config.identity import digest, run_folder, run_name
from normlab.endings import DiskFull, disk_is_full
from normlab.results import (
    SCHEMA,
    read_result,
    remove_unfinished,
    write_atomically,
    write_json,
)


def run(config: dict) -> dict:
    """The result of a resolved configuration, from its folder if it is there.

    A run is a function of its configuration: finished and diverged runs are returned as stored, interrupted ones go on
    where they stopped, failed ones are returned unless `retry=failed`.

    Args:
        config: resolved and checked, see `normlab.config.rules.check`.

    Raises:
        ValueError: the user's mistake; nothing was written.
        Interrupted: a signal stopped the run; its state is in the folder.
        DiskFull: no space is left; the run can go on once there is.
    """
    folder = run_folder(config)
    if (stored := stored_result(folder, config)) is not None:
        if config["profile"]:
            raise ValueError(
                f"profile=true needs a run that trains, {folder} has ended: add rerun=true"
            )
        return stored
    if config["profile"]:
        os.environ.setdefault(
            "KINETO_LOG_LEVEL", "99"
        )  # read when torch is imported: its notes are for its makers
    from normlab.training.preparation import prepare

    try:
        prepared = prepare(config)
        _make_folder(folder)
        return _run_in(folder, config, prepared)
    except Exception as error:
        if disk_is_full(error):
            raise DiskFull(folder) from error
        raise


def _run_in(folder: Path, config: dict, prepared: Any) -> dict:
    with locked(folder):
        if (stored := stored_result(folder, config, warn=True)) is not None:
            return stored
        if config["rerun"]:
            clear(folder)
        remove_unfinished(folder)
        return _train(config, prepared, folder)


def stored_result(folder: Path, config: dict, warn: bool = False) -> dict | None:
    """The result in the folder if it answers this configuration, else None.

    A damaged file is as good as none: the run goes on from its last checkpoint, and `warn` names the file.

    Raises:
        ValueError: somebody put the result of another configuration there.
    """
    try:
        result = None if config["rerun"] else read_result(folder)
    except ValueError as error:
        if warn:
            what = str(error).rpartition(";")[0]
            print(
                f"warning: {what}; it is made again from the last checkpoint",
                file=sys.stderr,
            )
        return None
    if result is None or (result["status"] == "failed" and config["retry"] == "failed"):
        return None
    if result.get("config_digest") != digest(
        config
    ):  # a folder's name has ten digits of it
        raise ValueError(
            f"{folder} holds the result of another configuration; move it away"
        )
    return result


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a run folder alone. Who comes second says so and waits; the operating system drops a lock with its owner."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(
            f"another process works in {folder}; waiting until it has ended",
            file=sys.stderr,
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _train(config: dict, prepared: Any, folder: Path) -> dict:
    from normlab.endings import Interrupted, Pruned
    from normlab.loggers import close_loggers
    from normlab.training.fit import train

    header = {
        "schema": SCHEMA,
        "run": run_name(config),
        "config_digest": digest(config),
    }
    header |= {"choices": config["choices"], "seed": config["seed"]}
    (folder / "traceback.txt").unlink(missing_ok=True)  # of an attempt that failed
    try:
        result = header | train(config, prepared, folder)
    except Interrupted:
        raise
    except (
        Pruned
    ) as pruned:  # no result: without the search the run is one that was interrupted
        return header | {
            "status": "pruned",
            "reason": str(pruned),
            "metrics": {},
            "seconds": pruned.seconds,
        }
    except Exception as error:
        if disk_is_full(error):
            raise
        write_atomically(folder / "traceback.txt", traceback.format_exc().encode())
        reason = f"{type(error).__name__}: {error}".strip()
        result = header | {
            "status": "failed",
            "reason": reason,
            "metrics": {},
            "seconds": 0.0,
        }
        if config["progress"]:  # a sweep names its failed jobs itself
            print(f"failed: {reason}; see {folder / 'traceback.txt'}", file=sys.stderr)
    finally:
        close_loggers()
    write_json(folder / "result.json", result)
    return result


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise ValueError(
            f"paths.outputs must be a folder that can be written: {error}"
        ) from error


def clear(folder: Path) -> None:
    """Empty a run folder for `rerun`, so that a kill between any two deletions leaves a run that can go on.

    Without its result the run is unfinished, without its checkpoints it starts anew; only then may its logs go.
    """
    first = [
        folder / "result.json",
        *(folder / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")),
    ]
    for path in first:
        path.unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif not path.name.startswith(".lock"):
            path.unlink()
