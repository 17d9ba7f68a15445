"""Plain files of a run folder, written atomically and read without torch."""

import errno
import json
import math
import os
import platform
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from normlab.checksums import check_file, verified, with_checksum
from normlab.descriptors import check_writable, descriptor_of, write_to_descriptor
from normlab.files import read_json
from normlab.locks import check_lease
from normlab.sharing import shared

SCHEMA = 1
# What file systems answer that have no second names for a file.
WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
PACKAGES = (
    "normlab",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that `path` holds the old or the new content at any moment.

    This is true after a power cut too.

    Raises:
        LeaseLost: another process has taken over the folder.
    """
    write_files({path: content})


def write_files(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Write several files, each of them as `write_atomically` does.

    Waiting for the disk once for all is much faster than once for each.

    Args:
        contents: by path.

    Raises:
        LeaseLost: another process has taken over the folder.
    """
    temporaries = {}
    for path in contents:
        check_lease(path)
        # Of two machines, each may have a process of the same number.
        name = f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        temporaries[path] = path.with_name(name)
    try:
        with ExitStack() as opened:
            files = []
            for path, temporary in temporaries.items():
                file = opened.enter_context(open(temporary, "wb"))
                file.write(contents[path])
                file.flush()
                files.append(file.fileno())
            force_to_disk(files)  # before the renames, or they could outlive the data
        for path, temporary in temporaries.items():
            check_lease(path)
            os.replace(temporary, path)
    except BaseException as error:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        if isinstance(error, FileNotFoundError):
            # The process that took over deletes such files.
            for path in contents:
                check_lease(path)
        raise


def force_to_disk(descriptors: Sequence[int]) -> None:
    """Wait until the content of open files is on the disk.

    Disks write many files in about the time of one if they are asked at once.

    Args:
        descriptors: of the files.
    """
    if len(descriptors) == 1:
        os.fsync(descriptors[0])
    elif descriptors:
        # Here, since a command that only reads results need not import it.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(descriptors)) as pool:
            list(pool.map(os.fsync, descriptors))


@contextmanager
def written_whole(path: Path, follow_links: bool = False) -> Iterator[Path]:
    """A temporary file that becomes `path` once the `with` block has ended well.

    Until then, and after an error, `path` is as it was.

    Args:
        path: of a file outside of any run that trains.
        follow_links: for a path that the user has named: write the file that a link
            leads to, write to a device or a pipe directly, and write to a file that is
            open, such as `/dev/stdout`, where it stands. Otherwise `path` itself is
            replaced, since it may be a link that somebody else has made.

    Yields:
        where to write; a device or a pipe exists already.

    Raises:
        ValueError: `path` names an open file that is not open for writing.
    """
    if follow_links:
        # The links /dev/stdout and /dev/fd/N lead to a pipe that no path resolves to.
        is_special = path.exists() and not path.is_file()
        if is_special:
            yield path
            return
        descriptor = descriptor_of(path)
        if descriptor is not None:
            check_writable(path, descriptor)
            with tempfile.TemporaryDirectory() as folder:
                copied = Path(folder) / path.name
                yield copied
                write_to_descriptor(copied, descriptor)
            return
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_atomically(path: Path, copy: Path) -> None:
    """Give a file a second name so that `copy` has the old or the new content.

    Raises:
        LeaseLost: another process has taken over the folder.
    """
    temporary = copy.with_name(f".{copy.name}.{secrets.token_hex(8)}.tmp")
    try:
        os.link(path, temporary)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        check_lease(path)
        os.replace(path, copy)
        return
    try:
        check_lease(path)
        os.replace(temporary, copy)
    except FileNotFoundError:
        check_lease(path)  # the process that took over deletes such files
        raise
    finally:
        # Renaming does nothing if both names already are those of one file.
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete files that a killed process did not finish writing.

    Only the holder of the folder's lock may call this.
    """
    for path in folder.rglob(".*.tmp"):
        path.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` atomically as indented JSON, see `json_bytes`."""
    write_atomically(path, json_bytes(content))


def json_bytes(content: dict[str, Any]) -> bytes:
    """Indented JSON, in which NaN and infinity become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    return (text + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_result(folder: Path) -> dict[str, Any] | None:
    """The stored result of a run folder, or None if the run has not ended.

    Raises:
        ValueError: `result.json` is not as normlab wrote it.
    """
    path = folder / "result.json"
    try:
        result = read_json(path)
        if not isinstance(result, dict) or "status" not in result:
            raise ValueError(f"{path} holds no result")
        return verified(result, str(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{error}; delete it to run again") from error


def check_log(path: Path) -> None:
    """Refuse a log file, such as `metrics.csv`, that was changed after its run ended.

    Raises:
        ValueError: names the file and says what to do.
    """
    check_file(path, read_result(path.parent) or {})


def all_metrics(result: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a result, and those of its scores that are numbers, by name.

    Results of earlier versions have no scores.
    """
    metrics = dict(result["metrics"])
    for part, scores in (result.get("scores") or {}).items():
        for name, value in scores.items():
            if isinstance(value, float):
                metrics.setdefault(f"{part}/{name}", value)
    return metrics


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write `result.json`, with a checksum of its values."""
    write_json(folder / "result.json", with_checksum(_finite(result)))


def environment(device: dict[str, Any]) -> dict[str, Any]:
    """Where a result comes from: source code, packages, machine and command.

    Args:
        device: accelerator, name and threads that the run used.
    """
    return {
        "git": shared("git", None, git_state),
        "python": platform.python_version(),
        "packages": shared("packages", None, _versions),
        "device": device,
        "platform": platform.platform(),
        "command": [Path(sys.argv[0]).name, *map(without_password, sys.argv[1:])],
    }


def without_password(word: str) -> str:
    """A word of a command line, with the password of an address replaced by stars.

    `storage=postgresql://user:secret@host` becomes `storage=postgresql://user:***@host`.
    A name may hold an `@`, and a password a slash; a number and a slash are a port.
    """
    word = re.sub(r"(://[^:/\s]*):(?!\d+(?:[/?#,]|$))[^@\s]+@", r"\1:***@", word)
    return re.sub(r"([?&](?:password|passwd|pwd|token)=)[^&\s]+", r"\1***", word)


def git_state() -> dict[str, Any] | None:
    """The commit of the source tree and whether it has uncommitted changes.

    None if the package does not lie in a git checkout.
    """
    here = Path(__file__).resolve().parent
    try:
        # An installed package may lie in a checkout of something else.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD")
        changes = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    """The versions of the packages that are installed, by their names."""
    versions = {}
    for name in PACKAGES:
        version = _version(name)
        if version:
            versions[name] = version
    return versions


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
