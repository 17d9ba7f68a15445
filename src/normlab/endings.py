"""Why a run or a sweep ends early, although the program itself has no fault.

All of them derive from `EarlyEnd`, which carries the exit code of the process.
"""

import errno
import signal
from pathlib import Path


class EarlyEnd(Exception):
    """A run or a sweep ends before it is finished.

    Attributes:
        exit_code: of the process, if this ends it.
    """

    exit_code = 1


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


class DiskFull(EarlyEnd):
    """No space is left for the files of a run; its last checkpoint is intact."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no space is left on the disk of {folder}, "
            f"the last checkpoint is intact: make room"
        )


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
