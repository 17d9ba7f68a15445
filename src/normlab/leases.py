"""Locks for file systems without locks: files that their owner has to renew.

A lease of the lock `NAME` is a file `NAME.lease.1`, or one with a higher number. The
file with the highest number is the lease, and its owner is the process that created it;
of several processes that create a file with `O_EXCL`, one succeeds, on network file
systems too. The owner rewrites the file four times within the time that it states
there. A process that sees the same content for the whole of that time takes the lease
over: it creates the file with the next number and deletes all others. No clocks of
different machines are compared.

An owner that was paused may find itself without its lease at any later moment. It
therefore calls `check` after it has written a file under a temporary name and before it
renames it. The new owner deletes all files under temporary names. An owner that is
paused even between the check and the renaming then has nothing left to rename.
"""

import errno
import json
import os
import re
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from normlab.endings import LeaseLost
from normlab.files import read_bytes

SECONDS = 60.0
VARIABLE = "NORMLAB_LEASE_SECONDS"
RENEWALS = 4  # within the time after which a lease is stale
RECORD_BYTES = 512  # a record always has the same length, so that it is never cut
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Record:
    """What a lease file says.

    Attributes:
        token: random text that tells this lease from all others.
        host: name of the owner's machine.
        pid: number of the owner's process.
        system: identifies the running system in which `pid` is valid; empty if unknown.
        seconds: after this time without a change the lease is stale.
        renewals: how often the owner has renewed it, always in nine digits: a reader
            that meets the old and the new content halfway finds one of them.
    """

    token: str
    host: str
    pid: int
    system: str
    seconds: float
    renewals: str = "0" * 9

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return json.dumps(vars(self)).encode().ljust(RECORD_BYTES - 1) + b"\n"

    @property
    def owner(self) -> str:
        """The owner in words."""
        return f"process {self.pid} on {self.host}"


def lease_seconds() -> float:
    """After how many seconds without a sign of its owner a lease is stale.

    Raises:
        ValueError: the variable `NORMLAB_LEASE_SECONDS` is not a number above 0.
    """
    text = os.environ.get(VARIABLE, str(SECONDS))
    with suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise ValueError(f"{VARIABLE} must be a number of seconds above 0, got {text!r}")


class Lease:
    """A lease that this process has, or had.

    Args:
        path: the lease file, which this process has created.
        descriptor: the open file.
        record: what it says.
        was_taken_over: whether there was another owner, who gave no sign of life.
    """

    def __init__(
        self, path: Path, descriptor: int, record: Record, was_taken_over: bool
    ) -> None:
        self.path = path
        self.record = record
        self.was_taken_over = was_taken_over
        self._descriptor = descriptor
        self._released = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        self._renewing.start()

    def release(self) -> None:
        """Give the lease back."""
        self._released.set()
        self._renewing.join()
        os.close(self._descriptor)
        if is_current(self.path, self.record.token):
            self.path.unlink(missing_ok=True)

    def _renew(self) -> None:
        pause = self.record.seconds / RENEWALS
        renewals = 0
        while not self._released.wait(pause):
            renewals += 1
            record = replace(self.record, renewals=f"{renewals:09}")
            # If the file system fails here, another process may take the lease over,
            # and the next check finds that.
            with suppress(OSError):
                os.pwrite(self._descriptor, record.to_bytes(), 0)
                os.fsync(self._descriptor)


def is_current(path: Path, token: str) -> bool:
    """Whether a lease file still is that of the process with this token.

    The file is opened anew: network file systems then ask their server.
    """
    record = _read(path)
    return record is not None and record.token == token


def check(path: Path, token: str, what: Path) -> None:
    """Refuse to go on if another process has taken a lease over.

    Args:
        path: the lease file.
        token: the token of the lease.
        what: what is locked.

    Raises:
        LeaseLost: another process has it.
        FileNotFoundError: what is locked is gone.
    """
    if is_current(path, token):
        return
    if not what.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(what))
    raise LeaseLost(what)


class Waiter:
    """Takes a lease as soon as it is free, or its owner gives no sign of life.

    Args:
        lock: path of the lock; the lease files lie beside it.
        seconds: what the new lease says about the time after which it is stale.
    """

    def __init__(self, lock: Path, seconds: float) -> None:
        self.lock = lock
        self.seconds = seconds
        self._seen: tuple[int, Record | None] | None = None
        self._since = 0.0

    @property
    def owner(self) -> str:
        """Whose lease was seen last, in words."""
        record = self._seen[1] if self._seen else None
        return "another process" if record is None else record.owner

    def take(self) -> Lease | None:
        """Try once; None if another process has the lease."""
        numbers = self._numbers()
        newest = max(numbers, default=0)
        if numbers and not self._is_stale(newest):
            return None
        lease = self._create(newest + 1)
        if lease is not None:
            for number in numbers:
                self._path(number).unlink(missing_ok=True)
        return lease

    def _numbers(self) -> list[int]:
        pattern = re.compile(re.escape(self.lock.name) + r"\.lease\.(\d+)")
        matches = map(pattern.fullmatch, os.listdir(self.lock.parent))
        return [int(match.group(1)) for match in matches if match]

    def _path(self, number: int) -> Path:
        return self.lock.with_name(f"{self.lock.name}.lease.{number}")

    def _is_stale(self, number: int) -> bool:
        record = _read(self._path(number))
        now = time.monotonic()
        if self._seen != (number, record):
            self._seen = (number, record)
            self._since = now
        if record is None:
            return now - self._since > self.seconds
        return now - self._since > record.seconds or _has_ended(record)

    def _create(self, number: int) -> Lease | None:
        """Create the lease file; None if another process was faster."""
        path = self._path(number)
        token = secrets.token_hex(16)
        host = socket.gethostname()
        record = Record(token, host, os.getpid(), _system(), self.seconds)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        os.pwrite(descriptor, record.to_bytes(), 0)
        os.fsync(descriptor)
        if max(self._numbers(), default=0) > number:
            # The number was free because its file had been deleted.
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        return Lease(path, descriptor, record, was_taken_over=number > 1)


def _read(path: Path) -> Record | None:
    """What a lease file says; None if it is not there, or not complete."""
    try:
        content: Any = json.loads(read_bytes(path, RECORD_BYTES))
        record = Record(**content)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # another machine has deleted it
            return None
        raise
    is_plain = isinstance(record.pid, int) and isinstance(record.seconds, int | float)
    return record if is_plain else None


def _system() -> str:
    """Identifies this boot of this machine, and the space of its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _has_ended(record: Record) -> bool:
    """Whether the owner was a process of this system that has ended."""
    if not record.system or record.system != _system():
        return False
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # a process of another user
    return False
