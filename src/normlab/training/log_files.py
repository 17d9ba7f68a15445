"""The log files of a run: measured for its checkpoints, cut back when it resumes.

They grow during training. A checkpoint holds how long each file was, and a digest of
its content. Rows that were written after the checkpoint are cut off when the run
resumes, since they will be written again, and files that were changed are named.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from normlab.checksums import EVENTS
from normlab.files import open_regular
from normlab.results import force_to_disk

CHUNK_BYTES = 2**20


def log_files(folder: Path) -> dict[str, Path]:
    """The files of a run folder that grow during training, by their path in it.

    A folder that is a link is left out: its files are not those of the run.
    """
    patterns = ["*.csv", EVENTS]
    if not (folder / "csv").is_symlink():
        patterns.append("csv/*.csv")
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): path for path in paths}


class LogMeter:
    """Lengths and digests of the log files of a run.

    Bytes that were read for one checkpoint are not read again for the next.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: dict[str, Any] = {}  # of hashlib, whose type has no public name
        self._lengths: dict[str, int] = {}

    def measure(self) -> tuple[dict[str, int], dict[str, str]]:
        """Force the files to the disk and measure them.

        Returns:
            the length in bytes and the SHA-256 of every file by its path in the folder.
        """
        lengths = {}
        digests = {}
        with ExitStack() as opened:
            files = {}
            sizes = {}
            for name, path in log_files(self.folder).items():
                file = opened.enter_context(open(path, "rb"))
                files[name] = file
                sizes[name] = os.fstat(file.fileno()).st_size
            descriptors = [file.fileno() for file in files.values()]
            force_to_disk(descriptors)
            for name, file in files.items():
                # What a logger adds by now may not be on the disk.
                self._read_on(name, file, sizes[name])
                lengths[name] = self._lengths[name]
                digests[name] = self._digests[name].hexdigest()
        return lengths, digests

    def _read_on(self, name: str, file: IO[bytes], size: int) -> None:
        """Add what was appended to a file since the last call to its digest.

        Args:
            name: of the file, by its path in the run folder.
            file: opened for reading.
            size: bytes up to which it is read.
        """
        known = self._lengths.get(name, 0)
        if name not in self._digests or size < known:
            self._digests[name] = hashlib.sha256()
            known = 0
        file.seek(known)
        while known < size:
            chunk = file.read(min(CHUNK_BYTES, size - known))
            if not chunk:
                break
            self._digests[name].update(chunk)
            known += len(chunk)
        self._lengths[name] = known


def truncate_logs(
    folder: Path,
    lengths: dict[str, int],
    digests: dict[str, str],
    warn: Callable[[str], None],
) -> None:
    """Cut every log file back to its length at the time of the checkpoint.

    Files that did not exist then are deleted. So are links, since a run writes none,
    and what they lead to is left alone.

    Args:
        folder: the run folder.
        lengths: bytes of every log file by its path relative to `folder`.
        digests: SHA-256 of these bytes; checkpoints of earlier versions have none.
        warn: called with a sentence about every file that is shorter than that, or has
            other content.
    """
    kept = {}
    for name, path in log_files(folder).items():
        length = lengths.get(name)
        if length is None or path.is_symlink():
            path.unlink()
            continue
        if path.stat().st_size > length:
            os.truncate(path, length)
        kept[name] = path

    for name, length in lengths.items():
        path = folder / name
        size = path.stat().st_size if name in kept else 0
        if size < length:
            warn(
                f"{path} has {size} of the {length} bytes that were written to it; "
                f"the missing rows are lost, rerun=true trains the run again"
            )
        elif name in digests and name in kept and _digest(path) != digests[name]:
            warn(
                f"{path} was changed after it was written; "
                f"its rows may be wrong, rerun=true trains the run again"
            )


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
