"""Locks between processes, on one machine or on several that share a file system.

Where the file system has locks, the system releases them when their owner ends, even if
that was killed. Where it has none, a lease does the same after a while, see
`normlab.leases`.
"""

import errno
import fcntl
import os
import re
import time
from pathlib import Path

from filelock import FileLock, Timeout

from normlab.leases import POLL_SECONDS, Lease, Waiter, check, lease_seconds

# What a file system without locks answers.
WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)

# Options of network file systems whose locks hold among the processes of one machine.
LOCAL_LOCKS = re.compile(r"\b(nolock|local_lock=(?:all|flock)|localflock)\b")
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "lustre")

# The tokens of the leases of this process, by the path of the lease file.
_tokens: dict[Path, str] = {}
# What `why_not_real` found, by the number of the file system.
_findings: dict[int, str | None] = {}


class Lock:
    """A lock that one process has at a time.

    Args:
        path: a file that is created beside what is locked.

    Attributes:
        why_lease: why it is a lease; None if it is a lock of the file system.
        was_taken_over: whether the lease was taken from an owner that gave no sign of
            life, and may still have files open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why_lease: str | None = None
        self.was_taken_over = False
        self._lock = FileLock(path, fallback_to_soft=False)
        self._lease: Lease | None = None
        self._waiter: Waiter | None = None

    def acquire(self, seconds: float | None = None) -> bool:
        """Wait for the lock.

        Args:
            seconds: how long; None waits until it is free.

        Returns:
            whether this process has it now.
        """
        if self.why_lease is None:
            is_acquired = self._acquire_lock(seconds)
            if self.why_lease is None:
                return is_acquired
        return self._acquire_lease(seconds)

    def _acquire_lock(self, seconds: float | None) -> bool:
        try:
            self._lock.acquire(timeout=-1 if seconds is None else seconds)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            self.why_lease = os.strerror(error.errno)
            return False
        self.why_lease = why_not_real(self.path)
        if self.why_lease is not None:
            self._lock.release()
        return self.why_lease is None

    def _acquire_lease(self, seconds: float | None) -> bool:
        if self._waiter is None:
            self._waiter = Waiter(self.path, lease_seconds())
        started = time.monotonic()
        while self._lease is None:
            self._lease = self._waiter.take()
            if self._lease is None:
                if seconds is not None and time.monotonic() - started >= seconds:
                    return False
                time.sleep(POLL_SECONDS)
        self.was_taken_over = self._lease.was_taken_over
        _tokens[self._lease.path] = self._lease.record.token
        return True

    @property
    def owner(self) -> str:
        """Who has the lease that this process waits for, in words."""
        return "another process" if self._waiter is None else self._waiter.owner

    def release(self) -> None:
        """Give the lock back."""
        if self._lease is None:
            self._lock.release()
            return
        _tokens.pop(self._lease.path, None)
        self._lease.release()
        self._lease = None

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def why_not_real(path: Path) -> str | None:
    """Why a lock that this process has keeps no other process out; None if it does.

    Every file system is tried once.

    Args:
        path: a file that this process has locked.
    """
    device = os.stat(path.parent).st_dev
    if device not in _findings:
        _findings[device] = _why_not_real(path, device)
    return _findings[device]


def _why_not_real(path: Path, device: int) -> str | None:
    # Locks belong to the opened file: for the system this is what a second process is.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _local_locks(device)
    finally:
        os.close(descriptor)
    return "two processes get the same lock"


def _local_locks(device: int) -> str | None:
    """The option by which a network file system locks within one machine only."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return None  # a system without this list
    for line in mounts.splitlines():
        options, _, kind = line.partition(" - ")
        is_network = kind.partition(" ")[0] in NETWORK_FILE_SYSTEMS
        if is_network and options.split()[2] == number:
            found = LOCAL_LOCKS.search(line)
            return f"it is mounted with {found.group()}" if found else None
    return None


def check_lease(path: Path) -> None:
    """Refuse to write a file whose folder another process has taken over.

    Args:
        path: the file that is about to be renamed or written.

    Raises:
        LeaseLost: the lease of this process has passed to another one.
    """
    for lease, token in _tokens.items():
        if path.is_relative_to(lease.parent):
            check(lease, token, lease.parent)


def leases() -> dict[Path, str]:
    """The leases of this process, for `adopt` in the processes that it starts."""
    return dict(_tokens)


def adopt(tokens: dict[Path, str]) -> None:
    """Write only as long as the process that started this one has its leases.

    Args:
        tokens: what `leases` returned there.
    """
    _tokens.update(tokens)
