"""Kill a run at a chosen change to its files: before it, or in the middle of it."""

import builtins
import io
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class KillPoints:
    """Count the changes to files below a folder, and kill the process at one of them.

    A change is opening a file for writing, half of a write, fsync, rename or
    deletion. With them a process passes through every state in which its files can be
    found after SIGKILL.

    Args:
        folder: whose files count.
        die_at: number of the change at which the process is killed, counted from 1;
            0 kills it nowhere.
        names: a file that gets a line for every change.
    """

    def __init__(
        self, folder: Path, die_at: int = 0, names: Path | None = None
    ) -> None:
        self.folder, self.die_at, self.names, self.count = str(folder), die_at, names, 0

    def install(self) -> None:
        """In the process that is to die."""
        self.lock = threading.Lock()
        os.fsync = self._before(os.fsync, "fsync")
        os.replace = self._before(os.replace, "rename", 1)
        os.rename = self._before(os.rename, "rename", 1)
        os.unlink = self._before(os.unlink, "delete")
        os.rmdir = self._before(os.rmdir, "delete")
        original = builtins.open

        def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not self._is_below(file) or not set(mode) & set("wax+"):
                return original(file, mode, *arguments, **options)
            self.passed("open", file)
            return _Torn(
                original(file, mode, *arguments, **options),
                lambda: self.passed("half of", file),
            )

        builtins.open = io.open = opened

    def passed(self, what: str, file: Any) -> None:
        """Count a change, and die if it is the chosen one."""
        with self.lock:
            self.count += 1
            if self.names is not None:
                descriptor = os.open(self.names, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{what} {_readable(file)}\n".encode())
                os.close(descriptor)
            if self.count == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def _before(self, function: Callable, what: str, argument: int = 0) -> Callable:
        def hooked(*arguments: Any, **options: Any) -> Any:
            file = arguments[argument]
            file = (
                os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file
            )
            if self._is_below(file):
                self.passed(what, file)
            return function(*arguments, **options)

        return hooked

    def _is_below(self, file: Any) -> bool:
        return isinstance(file, str | os.PathLike) and os.path.abspath(file).startswith(
            self.folder
        )


def _readable(file: Any) -> str:
    name = Path(file).name
    if name.startswith("events.out"):
        return "events.out"
    return (
        "temporary file of " + name[1:].rsplit(".", 2)[0]
        if name.endswith(".tmp")
        else name
    )


class _Torn:
    """A file whose writes stop halfway for a moment."""

    def __init__(self, file: Any, halfway: Callable[[], None]) -> None:
        self._file, self._halfway = file, halfway

    def write(self, content: Any) -> int:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._halfway()
        self._file.write(content[half:])
        return len(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Torn":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)
