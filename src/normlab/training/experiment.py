"""Turn a configuration into its result: a stored one, a resumed run, or a new one.

Torch is imported only if training is needed.
"""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normlab import signals
from normlab.checksums import (
    FILES,
    changed_events,
    check_best_checkpoint,
    file_digests,
)
from normlab.config.identity import digest, is_digest_of, name_of, run_folder
from normlab.config.stored_plan import started_plan
from normlab.endings import (
    DiskFull,
    EarlyEnd,
    Interrupted,
    LeaseLost,
    NoResult,
    Pruned,
    disk_is_full,
    explain_file_error,
    find_file_error,
)
from normlab.files import LARGEST_TABLE, read_bytes, refuse_link
from normlab.leases import lease_seconds
from normlab.locks import Lock
from normlab.results import (
    SCHEMA,
    read_result,
    remove_unfinished,
    write_atomically,
    write_result,
)
from normlab.terminal import output_may_end, print_line

if TYPE_CHECKING:
    from normlab.training.preparation import Prepared

TRACEBACK = "traceback.txt"
NO_LOCKS = ".no_locks"  # in the folder of a group, where this was told


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
    return run_with_output(config)


def run_with_output(config: dict) -> dict[str, Any]:
    """`run` for callers whose output is known to be connected, in any thread.

    Args:
        config: a resolved configuration.

    Raises:
        ValueError, Interrupted, DiskFull, StorageFault: see `run`.
    """
    while True:
        try:
            return run_until_lost(config)
        except LeaseLost as lost:
            print_line(f"{lost}; waiting for its result")
        config = config | {"rerun": False}


def run_until_lost(config: dict) -> dict[str, Any]:
    """`run_with_output`, which ends if another process takes the run over.

    Args:
        config: a resolved configuration.

    Raises:
        LeaseLost: another process has taken over the files of the run.
        ValueError, Interrupted, DiskFull, StorageFault: see `run`.
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
        for line in changed_events(folder, stored):
            print_line(line)
        return stored
    if config["profile"]:
        # Silences notices of the profiler; it is read when torch is imported.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with _uncollected_imports():
        from normlab.training.preparation import prepare

    prepared = prepare(config)
    _make_folder(folder)
    with locked(folder):
        stored = stored_result(folder, config, warn=True)
        if stored is not None:
            return stored
        if config["rerun"]:
            # The same seed gives the same result, which was there to be looked at.
            plan = started_plan(folder) or config.get("plan")
            config = config | {"plan": plan}
            clear(folder)
        remove_unfinished(folder)
        return _train(config, prepared, folder)


@contextmanager
def _uncollected_imports() -> Iterator[None]:
    """Keep the garbage collector away from what is imported here.

    Torch, Lightning and scikit-learn make about a million objects, which live as long
    as the process. Scanning them takes 5 % of the time to a first step. In a process
    that has imported torch already, the collector is left as it is.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # or the next collection would scan them all
        gc.enable()
        # Triton prints a page about objects that are left when Python ends.
        atexit.register(gc.unfreeze)


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
            print_line(warning)
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
    exits, even if that was killed. Where the file system has no locks, this is told
    once for every folder of a group, and a lease takes the place of the lock, see
    `normlab.locks`.

    Raises:
        ValueError: the folder, or a folder in it, is a link.
    """
    _refuse_linked_folders(folder)
    lock = Lock(folder / ".lock")
    is_free = lock.acquire(seconds=0)
    if lock.why_lease is not None:
        _tell_once(folder.parent, lock.why_lease)
    if not is_free:
        print_line(f"{lock.owner} works in {folder}; waiting for it to end")
        lock.acquire()
    try:
        if lock.was_taken_over:
            _replace_log_files(folder)
        yield
    finally:
        lock.release()


def _refuse_linked_folders(folder: Path) -> None:
    """Refuse a run folder that is a link, or that holds a link to a folder.

    The files of a run are deleted, cut and replaced, and whoever made the link may have
    led it to other files. Links to files do no harm: they are replaced themselves.
    """
    refuse_link(folder)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and entry.is_dir():
                refuse_link(Path(entry.path))


def is_locked(lock: Lock) -> bool:
    """Whether another process works in a run folder at this moment.

    Args:
        lock: that of the folder. The owner of a lease counts as alive until the same
            lock has been asked about for `lease_seconds`.
    """
    if not lock.acquire(seconds=0):
        return True
    try:
        if lock.was_taken_over:
            _replace_log_files(lock.path.parent)
    finally:
        lock.release()
    return False


def _tell_once(group: Path, why: str) -> None:
    """Print why there are no locks, unless a process has printed it before."""
    try:
        (group / NO_LOCKS).touch(exist_ok=False)
    except FileExistsError:
        return
    print_line(
        f"{group} is on a file system without locks ({why}); runs are locked by files, "
        f"which other processes respect for {lease_seconds():g} s after a kill"
    )


def _replace_log_files(folder: Path) -> None:
    """Replace files that the former owner may still have open by copies.

    What that process writes into them then reaches nobody.
    """
    from normlab.training.log_files import log_files

    for path in log_files(folder).values():
        if not path.is_symlink():
            write_atomically(path, read_bytes(path, LARGEST_TABLE))


def _train(config: dict, prepared: "Prepared", folder: Path) -> dict[str, Any]:
    from normlab.loggers import close_loggers, log_interrupted
    from normlab.training.train import train

    header = {
        "schema": SCHEMA,
        "run": name_of(folder),
        "config_digest": digest(config),
        "choices": config["choices"],
        "seed": config["seed"],
    }
    (folder / TRACEBACK).unlink(missing_ok=True)  # of an attempt that failed
    try:
        result = header | train(config, prepared, folder)
    except (LeaseLost, NoResult):
        raise
    except Interrupted:
        log_interrupted(config, folder)
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
        result |= {FILES: file_digests(folder)}
        write_result(folder, result)
    return result


def _failed(error: Exception, folder: Path, progress: bool) -> dict[str, Any]:
    """Store the traceback of a failed run, and return what its result says."""
    path = folder / TRACEBACK
    write_atomically(path, traceback.format_exc().encode())
    reason = f"{type(error).__name__}: {error}".strip()
    if progress:  # a sweep lists its failed jobs itself
        print_line(f"failed: {reason}; see {path}")
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
    beginning. Only then may its logs go. The locks stay, since they are in use. A
    link in a folder of the run is deleted, and what it leads to stays.
    """
    checkpoints = folder / "checkpoints"
    (folder / "result.json").unlink(missing_ok=True)
    (checkpoints / "last.ckpt").unlink(missing_ok=True)
    (checkpoints / "previous.ckpt").unlink(missing_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        is_folder = path.is_dir() and not path.is_symlink()
        if is_folder:
            path.rmdir()
        elif not path.name.startswith(".lock"):
            path.unlink()
