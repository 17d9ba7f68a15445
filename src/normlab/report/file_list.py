"""The list of a report's files, by which the next report removes what it lacks."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from normlab.files import open_regular, read_json
from normlab.results import json_bytes, written_whole

FIGURE_FOLDER = "figures"  # a folder beside the page
NAME = re.compile(rf"(?:{FIGURE_FOLDER}/)?[^/\\.][^/\\]*")
MOST_NAMES = 10  # that a sentence lists


def silent(sentence: str) -> None:
    """Report nothing."""


def update_file_list(
    page: Path, written: Iterable[Path], tell: Callable[[str], None] = silent
) -> None:
    """Remove the files of an earlier report that this one lacks, and list its own.

    The list lies beside the page: for `report.html`, it is `report.files.json`. A file
    is removed only if the earlier list names it and it holds what was written then.

    Args:
        page: the page of the report.
        written: its files, beside the page or in the folder `figures`.
        tell: called with a sentence on files that were removed, or kept since they were
            changed.
    """
    folder = page.parent
    path = page.with_suffix(".files.json")
    digests = {}
    for file in written:
        name = file.relative_to(folder).as_posix()
        digests[name] = _digest(file)
    removed = []
    changed = []
    for name, digest in _read_list(path).items():
        file = folder / name
        if name in digests or not _is_ours(file, folder):
            continue
        if _digest(file) == digest:
            file.unlink()
            removed.append(name)
        else:
            changed.append(name)
    if removed:
        tell(f"removed, since only an earlier report has them: {_shown(removed)}")
    if changed:
        tell(f"kept from an earlier report, since they were changed: {_shown(changed)}")
    with written_whole(path) as temporary:
        temporary.write_bytes(json_bytes(digests))


def _read_list(path: Path) -> dict[str, str]:
    """SHA-256 by name; empty if there is no list, or one that cannot be read."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    listed = {}
    for name, digest in content.items():
        if NAME.fullmatch(name):
            listed[name] = str(digest)
    return listed


def _is_ours(file: Path, folder: Path) -> bool:
    """Whether a regular file lies in a folder of the report; a link leads elsewhere."""
    leads_elsewhere = file.parent != folder and file.parent.is_symlink()
    return file.is_file() and not file.is_symlink() and not leads_elsewhere


def _digest(file: Path) -> str:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _shown(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
