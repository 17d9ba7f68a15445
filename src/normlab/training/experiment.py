"""Turn a configuration into its result: a stored one, a resumed run, or a new one.

Torch is imported only if training is needed.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from normlab import signals
from normlab.checksums import check_best_checkpoint
from normlab.config.identity import digest, is_digest_of, run_folder, run_name
from normlab.endings import (
    DiskFull,
    EarlyEnd,
    Interrupted,
    Pruned,
    disk_is_full,
    explain_file_error,
    find_file_error,
)
from normlab.results import (
    SCHEMA,
    read_result,
    remove_unfinished,
    write_atomically,
    write_result,
)
from normlab.terminal import output_may_end, without_control

if TYPE_CHECKING:
    from normlab.training.preparation import Prepared

TRACEBACK = "traceback.txt"


@output_may_end()
def run(config: dict) -> dict[str, Any]:
    """Return the result of a configuration, and train if there is none yet.

    A run is a function of its configuration, which names its folder. In this order:

    1. A stored result is returned, also that of a run that diverged or failed.
       `rerun=true` ignores it, and `retry=failed` ignores a failed one.
    2. The run is prepared: a mistake of the user is refused before anything is written.
    3. The folder is locked. If another process has finished the run in the meantime,
       its result is returned.
    4. With `rerun=true` the folder is emptied.
    5. Training resumes from `last.ckpt`, or from `previous.ckpt` if that is damaged.
       Rows that were logged after the checkpoint are removed and written again.
    6. Without a checkpoint, training starts from the initial weights.
    7. The result is written last: a folder without `result.json` is an unfinished run.

    Args:
        config: a resolved configuration, checked by `normlab.config.rules.check`.

    Raises:
        ValueError: a mistake of the user; nothing was written, or the folder was moved
            or removed while the run trained.
        Interrupted: a signal stopped the run; its state is in the folder.
        DiskFull: no space is left; the run can be resumed once there is.
        StorageFault: the system cannot use files, whatever the run does.
    """
    folder = run_folder(config)
    try:
        return _stored_or_trained(folder, config)
    except Exception as error:
        if disk_is_full(error):
            raise DiskFull(folder) from error
        file_error = find_file_error(error, folder)
        is_explained = isinstance(error, EarlyEnd | ValueError)
        if file_error is None or is_explained:
            raise
        raise explain_file_error(file_error, folder) from error


def _stored_or_trained(folder: Path, config: dict) -> dict[str, Any]:
    stored = stored_result(folder, config)
    if stored is not None and config["profile"]:
        raise ValueError(
            f"profile=true needs a run that trains, {folder} has ended: add rerun=true"
        )
    if stored is not None:
        return stored
    if config["profile"]:
        # Silences notices of the profiler; it is read when torch is imported.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from normlab.training.preparation import prepare

    prepared = prepare(config)
    _make_folder(folder)
    with locked(folder):
        stored = stored_result(folder, config, warn=True)
        if stored is not None:
            return stored
        if config["rerun"]:
            clear(folder)
        remove_unfinished(folder)
        return _train(config, prepared, folder)


def stored_result(
    folder: Path, config: dict, warn: bool = False
) -> dict[str, Any] | None:
    """The stored result that answers a configuration, or None.

    A damaged or changed file counts as none: the run is resumed from its last
    checkpoint.

    Args:
        folder: the run folder.
        config: a resolved configuration.
        warn: print a warning about a damaged file.

    Raises:
        ValueError: the folder holds the result of another configuration, or the best
            checkpoint of another run.
    """
    if config["rerun"]:
        return None
    try:
        result = read_result(folder)
    except ValueError as error:
        if warn:
            what = str(error).rpartition(";")[0]
            warning = f"warning: {what}; it is made again from the last checkpoint"
            print(without_control(warning), file=sys.stderr)
        return None
    if result is None:
        return None
    if result["status"] == "failed" and config["retry"] == "failed":
        return None
    # The name of the folder has ten digits of the digest only.
    if not is_digest_of(result.get("config_digest"), config, folder):
        raise ValueError(
            f"{folder} holds the result of another configuration; move it away"
        )
    check_best_checkpoint(folder, result)
    return result


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the run folder.

    A second process prints a notice and waits. The lock is released when its owner
    exits, even if that was killed.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        notice = f"another process works in {folder}; waiting for it to end"
        print(without_control(notice), file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _train(config: dict, prepared: "Prepared", folder: Path) -> dict[str, Any]:
    from normlab.loggers import close_loggers
    from normlab.training.train import train

    header = {
        "schema": SCHEMA,
        "run": run_name(config),
        "config_digest": digest(config),
        "choices": config["choices"],
        "seed": config["seed"],
    }
    (folder / TRACEBACK).unlink(missing_ok=True)  # of an attempt that failed
    try:
        result = header | train(config, prepared, folder)
    except Interrupted:
        raise
    except Pruned as pruned:
        # Nothing is stored: without the search, this run was interrupted.
        return header | _unfinished("pruned", str(pruned), pruned.seconds)
    except Exception as error:
        if disk_is_full(error) or find_file_error(error, folder):
            raise  # no result: this says nothing about the configuration
        result = header | _failed(error, folder, config["progress"])
    finally:
        close_loggers()
    with signals.postponed():
        write_result(folder, result)
    return result


def _failed(error: Exception, folder: Path, progress: bool) -> dict[str, Any]:
    """Store the traceback of a failed run, and return what its result says."""
    path = folder / TRACEBACK
    write_atomically(path, traceback.format_exc().encode())
    reason = f"{type(error).__name__}: {error}".strip()
    if progress:  # a sweep lists its failed jobs itself
        notice = without_control(f"failed: {reason}; see {path}")
        print(notice, file=sys.stderr)
    return _unfinished("failed", reason, seconds=0.0)


def _unfinished(status: str, reason: str, seconds: float) -> dict[str, Any]:
    return {"status": status, "reason": reason, "metrics": {}, "seconds": seconds}


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
    """Empty a run folder for `rerun=true`.

    A kill between any two deletions must leave a run that can be resumed. Without its
    result the run is unfinished, and without its checkpoints it starts from the
    beginning. Only then may its logs go. The locks stay, since they are in use.
    """
    checkpoints = folder / "checkpoints"
    (folder / "result.json").unlink(missing_ok=True)
    (checkpoints / "last.ckpt").unlink(missing_ok=True)
    (checkpoints / "previous.ckpt").unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif not path.name.startswith(".lock"):
            path.unlink()
