"""Handling of the signals that ask a run to stop.

While a run trains, it has handlers of its own: it first writes a checkpoint and then
hands the signal on to the handler that was there before.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from normlab.endings import Interrupted

# Ctrl-C, the end that systems announce, and the warnings of schedulers: SLURM's by
# convention (SIGUSR1), and submitit's (SIGUSR2).
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def install(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Install one handler for every stop signal.

    Python allows handlers in the main thread only; in another thread this does nothing.

    Returns:
        the handlers that were installed before, by the number of the signal.
    """
    previous: dict[int, Any] = {}
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is None:
            continue  # installed by other code than Python, which could not restore it
        try:
            previous[number] = signal.signal(number, handler)
        except ValueError:
            return previous
    return previous


@contextmanager
def restored() -> Iterator[None]:
    """Restore the handlers of all stop signals at the end of the block."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Let stop signals wait until the end of the block.

    Files are written in such blocks, so that no signal ends a write in the middle. One
    that comes several times is sent on once.
    """
    received: dict[int, None] = {}  # a set that keeps its order
    try:
        with restored():
            install(lambda number, frame: received.setdefault(number))
            yield
    finally:
        for number in received:
            signal.raise_signal(number)


def may_come_twice(number: int) -> bool:
    """Whether the second signal of a number may be the first one once more.

    SLURM signals every process of a job, and a process that started others hands its
    signals on to them: one request then arrives twice. Only a second Ctrl-C is always a
    wish of its own.
    """
    if number == signal.SIGINT:
        return False
    has_parent = multiprocessing.parent_process() is not None
    return has_parent or "SLURM_JOB_ID" in os.environ


def hand_over(number: int, handler: Any) -> None:
    """Hand a signal on to the handler that was there before the run.

    The state of the run is on disk by now. The handler of a launcher that queues its
    job again ends the process. If a handler only notes the signal, it returns, and so
    does this function: the run continues.

    Args:
        number: of the signal.
        handler: what `signal.getsignal` returned before the run.

    Raises:
        Interrupted: there was no handler, or it could not queue the job.
    """
    if not callable(handler) or handler is signal.default_int_handler:
        raise Interrupted(number)
    try:
        handler(number, None)
    except Exception as error:
        raise Interrupted(number, str(error)) from error
