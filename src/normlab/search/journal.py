"""The journal of a search: Optuna's file of trials, with a checksum in every entry.

An entry is a line of JSON. One that was changed could otherwise change the value of a
trial, and with it the best settings.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from normlab.files import refuse_link
from normlab.locks import Lock

TAIL_BYTES = 2**16
CHECKSUM = "checksum"  # key of every entry
CHECKSUM_DIGITS = 16


class CheckedJournal(JournalFileBackend):
    """A journal file that refuses entries which were changed.

    Entries of earlier versions have no checksum and are read as they are.

    Args:
        path: the file, which is created if it does not exist.

    Raises:
        ValueError: it is a link.
    """

    def __init__(self, path: Path) -> None:
        refuse_link(path)
        # The base class of locks is private in Optuna (5.0.0), their methods are not.
        super().__init__(str(path), JournalLock(path))  # type: ignore[arg-type]
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, each with its checksum."""
        super().append_logs([log | {CHECKSUM: checksum(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Read the entries from a number on.

        Raises:
            ValueError: names the journal and the line that is damaged.
        """
        number = log_number_from
        try:
            for log in super().read_logs(log_number_from):
                number += 1
                yield _verified(log)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{self.path} is damaged near line {number} ({error}); put it back, "
                f"or delete it: trials whose runs are stored are then done at once"
            ) from error


def checksum(log: dict[str, Any]) -> str:
    """The first digits of the SHA-256 of an entry without its checksum."""
    text = json.dumps(log, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]


def _verified(log: Any) -> dict[str, Any]:
    """An entry without its checksum.

    Raises:
        ValueError: it is not as it was written.
    """
    if not isinstance(log, dict) or not isinstance(log.get("op_code"), int):
        raise ValueError("it is no entry")
    values = dict(log)
    if CHECKSUM in values and values.pop(CHECKSUM) != checksum(values):
        raise ValueError("it does not match its checksum")
    return values


class JournalLock:
    """The lock of a journal file, which the system releases when its owner ends.

    A kill or a full disk may leave an incomplete line at the end of the journal. The
    next owner cuts it off, since the next entry would be appended to it.

    Args:
        journal: the journal file.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.lock = Lock(Path(f"{journal}.lock"))

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.lock.acquire()
        with open(self.journal, "rb+") as file:
            end = file.seek(0, 2)
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(start + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock."""
        self.lock.release()
