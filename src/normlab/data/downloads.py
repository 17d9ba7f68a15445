"""Files from the network, complete or not at all, and nothing left behind where there is no network."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from http.client import HTTPException
from pathlib import Path

FAILURES = (
    OSError,
    HTTPException,
    RuntimeError,
)  # of the network, of the disk, and torch's and torchvision's own


def data_path(root: str | os.PathLike, needed: str) -> Path:
    """`dataset.root` as a path.

    Raises:
        ValueError: null, or a number, which a name of digits is on the command line.
    """
    if not isinstance(root, str | os.PathLike):
        raise ValueError(f"dataset.root must be the path of {needed}, got {root!r}")
    return Path(root)


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make `path` and its parents; if what is done inside fails, those that were made and are empty go again."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def download_archive(url: str, md5: str, inner: str, folder: Path, needed: str) -> None:
    """Unpack the folder `inner` of a published archive as `folder`, which must not exist or be empty.

    Args:
        url: of the archive.
        md5: of the archive, as published.
        inner: the folder in it.
        folder: what becomes of it.
        needed: what `folder` must be, for the message.

    Raises:
        ValueError: no network, or another archive than the published one.
    """
    from torch.hub import download_url_to_file

    try:
        with (
            new_folder(folder.parent),
            tempfile.TemporaryDirectory(dir=folder.parent) as temporary,
        ):
            archive = Path(temporary) / Path(url).name
            download_url_to_file(url, str(archive), progress=sys.stderr.isatty())
            check_digest(archive, "md5", md5)
            shutil.unpack_archive(archive, temporary)
            (Path(temporary) / inner).rename(folder)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={folder} must be {needed}, and downloading {url} failed ({first_line(error)}); "
            f"unpack that archive anywhere and name its folder"
        ) from error


def download_file(url: str, sha256: str | None, path: Path) -> None:
    """One file under the name `path`, checked against `sha256` where that is known.

    Raises:
        ValueError: no network, or another checksum.
    """
    from torch.hub import download_url_to_file

    try:
        with new_folder(path.parent):
            download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={path} must be the file {url}, and downloading it failed ({first_line(error)}); "
            f"name a copy of it"
        ) from error


def check_digest(path: Path, algorithm: str, expected: str) -> None:
    """Compare a file with a checksum.

    Raises:
        ValueError: names the file and both checksums.
    """
    found = digest_of(path, algorithm)
    if found != expected:
        raise ValueError(
            f"{path} must have the {algorithm} checksum {expected}, it has {found}: not the published file"
        )


def digest_of(path: Path, algorithm: str) -> str:
    """Hexadecimal checksum of a file."""
    with path.open("rb") as file:
        return file_digest(file, algorithm).hexdigest()


def first_line(error: BaseException) -> str:
    """What an exception says, in one line; its class if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
