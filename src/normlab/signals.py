"""Handling of the signals that ask a run to stop.

While a run trains, it has handlers of its own: it first writes a checkpoint and then
hands the signal on to the handler that was there before.
"""

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
