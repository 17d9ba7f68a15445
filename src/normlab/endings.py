"""Why a run or a sweep ends early, although the program itself has no fault.

They derive from `EarlyEnd`, which carries the exit code of the process, or from
`NoResult`, which is about one run only.
"""

import errno
import signal
from pathlib import Path

# What a system says if files cannot be used at all: damaged or read-only disks, too
# many open files, lost network folders, and file systems without locks.
STORAGE_ERRORS = (
    *(errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE),
    *(errno.ESTALE, errno.ENOLCK, errno.EOPNOTSUPP),
)


class EarlyEnd(Exception):
    """A run or a sweep ends before it is finished.

    Attributes:
        exit_code: of the process, if this ends it.
        advice: what the user can do next.
    """

    exit_code = 1
    advice = "run the same command again to resume"


class NoResult(ValueError):
    """What keeps a run from training, and says nothing about it: no result is stored.

    In a sweep, the job fails and the others go on.
    """


class Interrupted(EarlyEnd):
    """A signal asked the run to stop; its state is on disk."""

    def __init__(self, signal_number: int, why: str = "") -> None:
        name = signal.Signals(signal_number).name
        details = f" ({why})" if why else ""
        super().__init__(f"stopped by {name}{details}")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


class Stopped(EarlyEnd):
    """A sweep ends before all jobs are done.

    Either a signal asked for it, or no further job could succeed (a full disk).
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason, exit_code)  # workers send it by pickle
        self.reason = reason
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.reason


class Left(EarlyEnd):
    """Nothing waits for the jobs of a sweep, which a scheduler has now."""

    exit_code = 0
    advice = "run the same command again for the results"


class DiskFull(EarlyEnd):
    """No space is left for the files of a run; its last checkpoint is intact."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no space is left on the disk of {folder}, "
            f"the last checkpoint is intact: make room"
        )


class LeaseLost(EarlyEnd):
    """Another process has taken over the files of a run; this one may write no more."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"another process has taken over {folder}, "
            f"since this one gave no sign of life for too long"
        )


class StorageFault(EarlyEnd):
    """The system cannot use the files of a run, whatever the run does."""


class Pruned(EarlyEnd):
    """A search stopped an unpromising run.

    The state of the run is on disk: started without the search, it is resumed.
    """

    def __init__(self, epoch: int, seconds: float) -> None:
        super().__init__(f"pruned after epoch {epoch}")
        self.seconds = seconds


class Diverged(EarlyEnd):
    """The training loss is no longer a finite number.

    Attributes:
        step: the first step without a finite loss, counted from 1.
        last_loss: loss of the step before; None if this process made none.
    """

    def __init__(self, step: int, loss: float, last_loss: float | None = None) -> None:
        super().__init__(f"training loss became {loss} at step {step}")
        self.step = step
        self.last_loss = last_loss


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that caused it, reports a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def find_file_error(error: BaseException | None, folder: Path) -> OSError | None:
    """The fault of a file behind an exception, if it is none of the computation.

    Args:
        error: an exception of a run.
        folder: the run folder.

    Returns:
        an exception, or one that caused it, with one of `STORAGE_ERRORS` or about a
        path in the run folder; None if there is none.
    """
    while error is not None:
        if isinstance(error, OSError) and (
            error.errno in STORAGE_ERRORS or _is_within(error.filename, folder)
        ):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_within(path: object, folder: Path) -> bool:
    return isinstance(path, str) and Path(path).is_relative_to(folder)


def explain_file_error(error: OSError, folder: Path) -> Exception:
    """What ends a run because of an exception that `find_file_error` found.

    Args:
        error: the exception.
        folder: the run folder.

    Returns:
        `StorageFault`, after which no other run could succeed either, or `ValueError`
        if somebody has moved, removed or closed this run folder.
    """
    reason = error.strerror or str(error)
    path = error.filename or folder
    if error.errno in STORAGE_ERRORS:
        return StorageFault(f"{path} cannot be used ({reason})")
    return ValueError(
        f"{folder} must stay in its place while the run trains, {path}: {reason}"
    )
