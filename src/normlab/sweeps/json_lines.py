"""A file of JSON objects, one per line, to which several processes append."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from normlab.files import LARGEST_TABLE, open_regular, open_to_append
from normlab.locks import Lock


class JsonLines:
    """A file to which processes of several machines append objects.

    A process that is killed while it writes leaves a part of a line. No reader takes
    that for an object, and what is appended next begins a new line.

    Args:
        path: of the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_up_to = 0

    def append(self, objects: Iterable[dict[str, Any]]) -> None:
        """Append objects; when this returns, they are on the disk.

        Raises:
            ValueError: the file is no regular file.
        """
        text = "".join(json.dumps(each) + "\n" for each in objects)
        lock = Lock(self.path.with_name(f".{self.path.name}.lock"))
        with lock, open_to_append(self.path) as file:
            if not _ends_with_a_line(file):
                text = "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def read_new(self) -> list[dict[str, Any]]:
        """The objects that were appended since the last call.

        Raises:
            ValueError: the file is no regular file.
        """
        try:
            with open_regular(self.path, LARGEST_TABLE) as file:
                file.seek(self._read_up_to)
                content = file.read()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._read_up_to += len(complete)
        found = []
        for line in complete.splitlines():
            value = _parse(line)
            if isinstance(value, dict):
                found.append(value)
        return found


def _ends_with_a_line(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parse(line: bytes) -> Any:
    """The value of a line; None if a killed process has left only a part of it."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
