"""One configuration to one result: finished before, gone on with, or made. Nothing heavy is imported for the first."""

import errno
import os
import sys
import traceback
from pathlib import Path

from filelock import FileLock

from normlab.config import digest, run_folder, run_name
from normlab.results import SCHEMA, read_result, write_atomically, write_json


class DiskFull(Exception):
    """No space left for a run's files; its last checkpoint is as it was."""

    exit_code = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(f"no space is left on the disk of {folder}, the last checkpoint is intact: make room")


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an exception, or what it came from, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def run(config: dict) -> dict:
    """The result of a resolved configuration, from its folder if it is there.

    A run is a function of its configuration: finished and diverged runs are returned as stored, interrupted ones go on
    where they stopped, failed ones are returned unless `retry=failed`.

    Args:
        config: resolved and checked, see `normlab.config.check`.

    Raises:
        ValueError: the user's mistake; nothing was written.
        Interrupted: a signal stopped the run; its state is in the folder.
        DiskFull: no space is left; the run can go on once there is.
    """
    folder = run_folder(config)
    if (stored := stored_result(folder, config)) is not None:
        if config["profile"]:
            raise ValueError(f"profile=true needs a run that trains, {folder} has ended: add rerun=true")
        return stored
    if config["profile"]:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is imported: its notes are for its makers
    from normlab.training import prepare

    prepared = prepare(config)
    _make_folder(folder)
    with FileLock(folder / ".lock") as lock:  # the operating system drops it with its owner
        if (stored := stored_result(folder, config)) is not None:
            return stored
        assert lock.is_locked
        if config["rerun"]:
            _clear(folder)
        return _train(config, prepared, folder)


def stored_result(folder: Path, config: dict) -> dict | None:
    """The result in the folder if it answers this configuration, else None."""
    result = None if config["rerun"] else read_result(folder)
    if result is None or (result["status"] == "failed" and config["retry"] == "failed"):
        return None
    return result


def _train(config: dict, prepared, folder: Path) -> dict:
    from normlab.callbacks import Interrupted
    from normlab.training import train

    header = {"schema": SCHEMA, "run": run_name(config), "config_digest": digest(config)}
    header |= {"choices": config["choices"], "seed": config["seed"]}
    try:
        result = header | train(config, prepared, folder)
    except Interrupted:
        raise
    except Exception as error:
        if disk_is_full(error):
            raise DiskFull(folder) from error
        write_atomically(folder / "traceback.txt", traceback.format_exc().encode())
        reason = f"{type(error).__name__}: {error}".strip()
        result = header | {"status": "failed", "reason": reason, "metrics": {}, "seconds": 0.0}
        print(f"failed: {reason}; see {folder / 'traceback.txt'}", file=sys.stderr)
    write_json(folder / "result.json", result)
    return result


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"paths.outputs must be a folder that can be written: {error}") from error


def _clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.name != ".lock":
            path.rmdir() if path.is_dir() else path.unlink()
