"""Runs on a file system without locks, as if every process were on its own machine."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import runs

from normlab import event_files, leases, locks, results
from normlab.sweeps.workers import start_server
from normlab.training import callbacks


def no_locks(*arguments: object) -> None:
    """Takes the place of `fcntl.flock`."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def work(config: dict, status: Path, seconds: float, pause: str | None) -> None:
    """Train; `status` gets how it ended, and the file beside it what was printed.

    Args:
        config: of the run.
        status: a file.
        seconds: after this time without a sign of its owner a lease is stale.
        pause: where the process stops itself once, one of `PAUSES`.
    """
    printed = os.open(status.with_suffix(".txt"), os.O_CREAT | os.O_WRONLY)
    os.dup2(printed, 2)
    fcntl.flock = no_locks
    os.environ[leases.VARIABLE] = str(seconds)
    locks.POLL_SECONDS = 0.1
    leases._system = lambda: str(os.getpid())
    if pause is not None:
        PAUSES[pause]()
    runs.work(config, status, None)


class Run(runs.Run):
    """A process that trains without locks.

    Args:
        config: of the run.
        status: file that gets how it ended.
        seconds: after this time without a sign of its owner a lease is stale.
        pause: where the process stops itself once.
    """

    def __init__(
        self, config: dict, status: Path, seconds: float = 60, pause: str | None = None
    ) -> None:
        self.status = status
        status.unlink(missing_ok=True)
        context = start_server(runs.PRELOAD)
        arguments = (config, status, seconds, pause)
        self.process = context.Process(target=work, args=arguments)
        self.process.start()

    @property
    def printed(self) -> str:
        """What it has printed."""
        return self.status.with_suffix(".txt").read_text()

    def wait_until_stopped(self) -> None:
        """Wait until the process has stopped itself."""
        status = Path(f"/proc/{self.process.pid}/stat")
        while status.read_text().rpartition(") ")[2][0] != "T":
            time.sleep(0.05)

    def resume(self) -> None:
        """Let a process go on that has stopped itself."""
        os.kill(self.process.pid, signal.SIGCONT)


def _stop_at(number: int) -> Callable[[], None]:
    """A function that stops this process when it is called for the `number`-th time."""
    calls: list[int] = []

    def stop() -> None:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGSTOP)

    return stop


def _before_renaming(name: str, number: int) -> Callable[[], None]:
    def install() -> None:
        original = os.replace
        stop = _stop_at(number)

        def replace(source: Path, target: Path) -> None:
            if Path(target).name == name:
                stop()
            original(source, target)

        os.replace = replace

    return install


def _after_check(module: object, number: int) -> Callable[[], None]:
    def install() -> None:
        original = module.check_lease
        stop = _stop_at(number)

        def check_lease(path: Path) -> None:
            original(path)
            stop()

        module.check_lease = check_lease

    return install


# Each is a moment after the lease was checked, and before something is written.
PAUSES = {
    "before last.ckpt is renamed": _before_renaming("last.ckpt", 3),
    "before previous.ckpt is renamed": _before_renaming("previous.ckpt", 2),
    "before best.ckpt is renamed": _before_renaming("best.ckpt", 1),
    "before result.json is renamed": _before_renaming("result.json", 1),
    "before a row is appended": _after_check(callbacks, 3),
    "before events are written": _after_check(event_files, 3),
    "before any file is renamed": _after_check(results, 5),
}
