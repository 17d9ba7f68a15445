"""Download files completely or not at all, and leave nothing behind on failure."""

import os
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from http.client import HTTPException
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from normlab.files import open_regular
from normlab.messages import first_line

# Of the network or disk; torch and torchvision raise RuntimeError.
FAILURES = (OSError, HTTPException, RuntimeError)


def data_path(root: str | os.PathLike, needed: str) -> Path:
    """Return `dataset.root` as a path.

    Args:
        root: the value that was configured.
        needed: what the path must lead to, for the message.

    Raises:
        ValueError: the value is null, or a number. On the command line, a name that
            consists of digits becomes a number.
    """
    if not isinstance(root, str | os.PathLike):
        raise ValueError(f"dataset.root must be the path of {needed}, got {root!r}")
    return Path(root)


def open_data(path: Path) -> BinaryIO:
    """Open a file of a data set for reading; a link to a file is followed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, a pipe or a device. Reading these could wait for
            ever, or never come to an end.
    """
    try:
        return open_regular(path)
    except ValueError:
        if not path.is_symlink():
            raise
    return open_regular(Path(os.path.realpath(path)))


def refuse_special_files(folder: Path) -> None:
    """Refuse a folder that holds pipes or devices, before a library reads its files.

    Raises:
        ValueError: names the first one.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        is_special = path.exists() and not path.is_file() and not path.is_dir()
        if is_special:
            raise ValueError(f"{path} must be a regular file; remove it")


@contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make a folder and its parents, and remove them again if the work inside fails.

    Only folders that were made here and are empty are removed.
    """
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
    """Download an archive and unpack one of its folders.

    Args:
        url: of the archive.
        md5: published checksum of the archive.
        inner: name of the folder in the archive.
        folder: where to put that folder. It must not exist, or be empty.
        needed: what `folder` must be, for the message.

    Raises:
        ValueError: the download failed, or the archive is not the published one.
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
            unpack_archive(archive, Path(temporary))
            (Path(temporary) / inner).rename(folder)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={folder} must be {needed}, "
            f"and downloading {url} failed ({first_line(error)}); "
            "unpack that archive anywhere and name its folder"
        ) from error


def unpack_archive(archive: Path, folder: Path) -> None:
    """Unpack an archive, unless it holds anything but files and folders of its own.

    Args:
        archive: a zip or tar file.
        folder: where to unpack it.

    Raises:
        ValueError: a member would lie outside of `folder`, or is a device, a pipe or a
            link to the outside, or the archive is damaged. Of a zip file nothing was
            written then.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zip_file:
                for name in zip_file.namelist():
                    _check_member(name)
                zip_file.extractall(folder)
        else:
            with tarfile.open(archive) as tar_file:
                tar_file.extractall(folder, filter="data")
    except (ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{archive.name} cannot be unpacked: {first_line(error)}; "
            "take the published archive"
        ) from error


def _check_member(name: str) -> None:
    """Refuse the name of a zip file's member that leads out of its folder."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.is_absolute() or path.drive or path.root or ".." in path.parts:
            raise ValueError(f"its member {name!r} would lie outside of the folder")


def download_file(url: str, sha256: str | None, path: Path) -> None:
    """Download a file.

    Args:
        url: of the file.
        sha256: checksum that the file must have; None accepts any file.
        path: where to store the file.

    Raises:
        ValueError: the download failed, or the checksum differs.
    """
    from torch.hub import download_url_to_file

    try:
        with new_folder(path.parent):
            download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={path} must be the file {url}, "
            f"and downloading it failed ({first_line(error)}); name a copy of it"
        ) from error


def check_digest(path: Path, algorithm: str, expected: str) -> None:
    """Compare the checksum of a file with the expected one.

    Raises:
        ValueError: the checksums differ. The message names the file and both of them.
    """
    found = digest_of(path, algorithm)
    if found != expected:
        raise ValueError(
            f"{path} must have the {algorithm} checksum {expected}, it has {found}: "
            "not the published file"
        )


def digest_of(path: Path, algorithm: str) -> str:
    """Compute the hexadecimal checksum of a file.

    Raises:
        ValueError: it is no regular file.
    """
    with open_data(path) as file:
        # The file has `readinto`, which the type BinaryIO lacks.
        return file_digest(file, algorithm).hexdigest()  # type: ignore[arg-type]
