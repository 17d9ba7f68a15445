"""Files that this process has open, which paths such as `/dev/stdout` name."""

import fcntl
import os
import re
import shutil
import sys
from pathlib import Path

NAMED = re.compile(r"/(?:dev|proc/(?:self|thread-self|(\d+)))/fd/(\d+)")
MOST_LINKS = 40  # as Linux has it


def descriptor_of(path: Path) -> int | None:
    """The number of the open file that a path names, itself or by links; else None."""
    for _ in range(MOST_LINKS):
        text = os.path.abspath(path)
        match = NAMED.fullmatch(text)
        if match:
            process, number = match.groups()
            is_ours = process in (None, str(os.getpid()))
            return int(number) if is_ours else None
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def check_writable(path: Path, descriptor: int) -> None:
    """Refuse a file that is not open for writing.

    Args:
        path: what the user named.
        descriptor: the number of the open file.

    Raises:
        ValueError: it is closed, or open for reading only.
    """
    must = f"{path} must be open for writing, as by {descriptor}>FILE; it is"
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    except (OSError, OverflowError) as error:
        raise ValueError(f"{must} closed") from error
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise ValueError(f"{must} open for reading only")


def write_to_descriptor(path: Path, descriptor: int) -> None:
    """Write the content of a file to an open file, at the place where that stands.

    A file that was opened by `>>` is written at its end.

    Args:
        path: of the file to read.
        descriptor: the number of the open file, which stays open.

    Raises:
        OSError: it cannot be written.
    """
    sys.stdout.flush()  # what was printed before stands before
    with path.open("rb") as source, open(descriptor, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target)
