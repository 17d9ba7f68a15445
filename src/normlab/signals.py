"""Signals that ask a run to stop: what they raise, and who hears of them after the run has written its checkpoint."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from normlab.endings import Interrupted

# Ctrl-C, the end that systems announce, and the warnings of schedulers: SLURM's by hand, and submitit's.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def install(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Let `handler` have every stop signal; returns the handlers before.

    Elsewhere than in the main thread nothing can be installed and nothing is.
    """
    previous = {}
    for number in STOP_SIGNALS:
        if (
            signal.getsignal(number) is None
        ):  # not installed by Python, which could not put it back
            continue
        try:
            previous[number] = signal.signal(number, handler)
        except ValueError:
            return previous
    return previous


@contextmanager
def restored() -> Iterator[None]:
    """At the end of the `with` every stop signal has the handler that it had before, however the block ends."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)


def hand_over(number: int, handler: Any) -> None:
    """Tell who had the signal before that it came; the state is on disk now.

    A launcher that queues its job again ends the process here. One that only notes the signal returns, and the run
    goes on.

    Raises:
        Interrupted: nobody in particular had the signal, or who had it could not queue the job.
    """
    if not callable(handler) or handler is signal.default_int_handler:
        raise Interrupted(number)
    try:
        handler(number, None)
    except Exception as error:
        raise Interrupted(number, str(error)) from error
