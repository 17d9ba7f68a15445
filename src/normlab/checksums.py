"""Checksums that show whether the files of a run were changed after it ended.

They find damage and mistakes: a value that was edited, a file that belongs to another
run. Whoever changes a value on purpose can compute the checksum again.
"""

import fnmatch
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

from normlab.files import open_regular

# Keys of result.json.
CHECKSUM = "checksum"
BEST_CHECKPOINT = "best_checkpoint"
FILES = "files"

PREDICTIONS = "predictions.npz"  # of the best state for the test part
# Files of a run folder that are complete when the result is written.
COMPLETE_FILES = (
    *("config.yaml", "environment.json", "inputs.json", "metrics.csv"),
    *("statistics.csv", PREDICTIONS),
)
EVENTS = "events.out.*"  # of TensorBoard, with other names in every run


def with_checksum(result: dict[str, Any]) -> dict[str, Any]:
    """A result with a checksum of its values.

    Args:
        result: anything that JSON can hold, without NaN.
    """
    values = json.loads(json.dumps(result))  # as they will be read
    return values | {CHECKSUM: checksum(values)}


def verified(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a result without its checksum if its values match that.

    Earlier versions stored no checksum; their results are returned as they are.

    Args:
        result: the content of `result.json`.
        name: what the file is called in the message.

    Raises:
        ValueError: a value is not the one that the run has stored.
    """
    if CHECKSUM not in result:
        return result
    values = dict(result)
    stored = values.pop(CHECKSUM)
    if stored != checksum(values):
        raise ValueError(
            f"{name} does not match its checksum: it was changed after the run ended"
        )
    return values


def checksum(values: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the values of a result, however they are laid out."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def best_checkpoint(folder: Path) -> Path:
    """The file with the state of a run that was scored for its result."""
    return folder / "checkpoints" / "best.ckpt"


def check_best_checkpoint(folder: Path, result: dict[str, Any]) -> None:
    """Refuse a best checkpoint that is not the one which was scored for a result.

    There may be none, since a result does not need it any more. Results of earlier
    versions do not name theirs.

    Raises:
        ValueError: names the file and says what to do.
    """
    path = best_checkpoint(folder)
    stored = result.get(BEST_CHECKPOINT)
    if stored is None or not os.path.lexists(path):
        return
    try:
        found = archive_digest(path)
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError):
        found = None  # damaged, or no checkpoint at all
    if found != stored:
        raise ValueError(
            f"{path} is not the checkpoint that was scored for the result beside it; "
            f"put that back, or train the run again with rerun=true"
        )


def archive_digest(path: Path) -> str:
    """SHA-256, in hexadecimal, of the table of contents of a checkpoint.

    The table has the name, the size and the checksum of every record. The records are
    compared with it when they are loaded.

    Raises:
        zipfile.BadZipFile: the file is damaged, or no checkpoint.
        ValueError: it is no regular file.
    """
    records = []
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for record in archive.infolist():
            records.append((record.filename, record.file_size, record.CRC))
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256, in hexadecimal, of the complete files of a run folder, by their names.

    Files that do not exist are left out.
    """
    digests = {}
    paths = [folder / name for name in COMPLETE_FILES]
    for path in (*paths, *sorted(folder.glob(EVENTS))):
        digest = _file_digest(path)
        if digest is not None:
            digests[path.name] = digest
    return digests


def check_file(
    path: Path, result: dict[str, Any], content: bytes | None = None
) -> None:
    """Refuse a file that is not as it was when the result beside it was written.

    Results of earlier versions, and of runs that have not ended, know no files.

    Args:
        path: a file of the run folder.
        result: the content of `result.json`.
        content: what was read from the file; None reads it.

    Raises:
        ValueError: names the file and says what to do.
    """
    digests = result.get(FILES)
    stored = digests.get(path.name) if isinstance(digests, dict) else None
    if stored is None:
        return
    if content is None:
        found = _file_digest(path)
    else:
        found = hashlib.sha256(content).hexdigest()
    if stored != found:
        raise ValueError(
            f"{path} was changed after the run ended; "
            f"put it back, or train the run again with rerun=true"
        )


def changed_events(folder: Path, result: dict[str, Any]) -> list[str]:
    """A warning for each events file that is not as the run left it.

    TensorBoard shows what such a file holds; nothing else depends on it. A file that
    was deleted is not named. Results of earlier versions know no events files.

    Args:
        folder: of the run.
        result: the content of its `result.json`; empty if the run has not ended.
    """
    digests = result.get(FILES)
    if not isinstance(digests, dict) or not fnmatch.filter(digests, EVENTS):
        return []
    return [
        f"warning: {path} was changed after the run ended, or belongs to another run; "
        f"TensorBoard may show wrong values; delete it, or train again with rerun=true"
        for path in sorted(folder.glob(EVENTS))
        if _file_digest(path) != digests.get(path.name)
    ]


def _file_digest(path: Path) -> str | None:
    """SHA-256 of a regular file, in hexadecimal; None if there is none."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, ValueError):
        return None
