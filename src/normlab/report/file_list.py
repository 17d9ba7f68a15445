"""The list of a report's files, by which the next report removes what it lacks."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import replace
from pathlib import Path

from normlab.files import open_regular, read_json, refuse_link
from normlab.results import json_bytes, written_whole

FIGURE_FOLDER = "figures"  # a folder beside the page
NAME = re.compile(rf"(?:{FIGURE_FOLDER}/)?[^/\\.][^/\\]*")
MOST_NAMES = 10  # that a sentence lists


def silent(sentence: str) -> None:
    """Report nothing."""


@contextmanager
def replaced_files(page: Path, tell: Callable[[str], None] = silent) -> Iterator[Path]:
    """An empty folder, whose files replace those of the earlier report at the end.

    Until then, and after an error, the earlier report is as it was. Of its files, those
    that the new report lacks are removed. The list lies beside the page: for
    `report.html`, it is `report.files.json`. A file is removed only if the list names
    it and it holds what was written then.

    Args:
        page: the page of the report; its folder is made if it does not exist.
        tell: called with a sentence on files that were removed, or kept since they were
            changed.

    Yields:
        where to write the files: in this folder, or in the folder `figures` there.

    Raises:
        ValueError: a link lies in the place of the folder `figures`.
    """
    folder = page.parent
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f".{page.stem}."
    with tempfile.TemporaryDirectory(".tmp", prefix, folder) as name:
        staged = Path(name)
        yield staged
        _replace_files(staged, page, tell)


def _replace_files(staged: Path, page: Path, tell: Callable[[str], None]) -> None:
    """Move files from `staged` to the folder of the page, and list them."""
    folder = page.parent
    path = page.with_suffix(".files.json")
    digests = _digests(staged)
    for name in digests:
        place = (folder / name).parent
        if place != folder:
            refuse_link(place)
            place.mkdir(exist_ok=True)
    earlier = _read_list(path)
    # If this is interrupted, each file is an old or a new one: the list has both.
    listed = dict(earlier)
    for name, digest in digests.items():
        old = earlier.pop(name, "")
        listed[name] = f"{old} {digest}".strip()
    _write_list(path, listed)
    for name in digests:
        replace(staged / name, folder / name)
    _remove(earlier, folder, tell)
    _write_list(path, digests)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all files, by name."""
    digests = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_dir():
            name = file.relative_to(folder)
            digests[name.as_posix()] = _digest(file)
    return digests


def _remove(listed: dict[str, str], folder: Path, tell: Callable[[str], None]) -> None:
    """Remove files that hold what is listed, and keep those that were changed."""
    removed = []
    changed = []
    for name, digests in listed.items():
        file = folder / name
        if not _is_ours(file, folder):
            continue
        try:
            is_unchanged = _digest(file) in digests.split()
        except FileNotFoundError:  # another report was faster
            continue
        if is_unchanged:
            file.unlink(missing_ok=True)
            removed.append(name)
        else:
            changed.append(name)
    if removed:
        tell(f"removed, since only an earlier report has them: {_shown(removed)}")
    if changed:
        tell(f"kept from an earlier report, since they were changed: {_shown(changed)}")


def _read_list(path: Path) -> dict[str, str]:
    """SHA-256 by name, or several with spaces between them.

    It is empty if there is no list, or one that cannot be read.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    listed = {}
    for name, digests in content.items():
        if NAME.fullmatch(name):
            listed[name] = str(digests)
    return listed


def _write_list(path: Path, digests: dict[str, str]) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(json_bytes(digests))


def _is_ours(file: Path, folder: Path) -> bool:
    """Whether a regular file lies in a folder of the report; a link leads elsewhere."""
    leads_elsewhere = file.parent != folder and file.parent.is_symlink()
    try:
        return file.is_file() and not file.is_symlink() and not leads_elsewhere
    except OSError:  # of a name that no file can have
        return False


def _digest(file: Path) -> str:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _shown(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
