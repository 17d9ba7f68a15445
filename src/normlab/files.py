"""Read files that may come from somebody else, within bounds of size and depth.

Run folders, checkpoints and configurations of strangers are data. They are read only if
they are regular files: opening a pipe would wait for ever, a device has no end, and a
link may lead anywhere.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import yaml

MEGABYTE = 2**20
LARGEST_TEXT = 16 * MEGABYTE  # of result.json, config.yaml and the like
MOST_ALIASES = 100  # in a YAML file; nested ones multiply what they stand for
MOST_DEPTH = 100  # of lists and mappings in each other


def open_regular(path: Path, largest: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: of the file, which must not be a link.
        largest: size in bytes that is not exceeded; None for any size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a link, a folder, a pipe or a device, or it is too large.
    """
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise ValueError(f"{path} must be a regular file") from error
        raise
    try:
        _check(os.fstat(descriptor), path, largest)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(status: os.stat_result, path: Path, largest: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} must be a regular file")
    if largest is not None and status.st_size > largest:
        raise ValueError(
            f"{path} must have at most {largest // MEGABYTE} MiB, "
            f"it has {status.st_size / MEGABYTE:.0f}"
        )


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, too large, or not in UTF-8.
    """
    with open_regular(path, largest) as file:
        content = file.read(largest + 1)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not readable ({error})") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no readable JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not readable ({error})") from error


class _BoundedLoader(yaml.SafeLoader):
    """Plain types only, with few aliases and little depth.

    Nine levels of nine aliases each stand for 387 million values.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.aliases = 0
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
        self.depth += 1
        if self.aliases > MOST_ALIASES:
            raise yaml.YAMLError(f"more than {MOST_ALIASES} aliases")
        if self.depth > MOST_DEPTH:
            raise yaml.YAMLError(f"deeper than {MOST_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: dicts, lists, strings, numbers, booleans and None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no readable YAML, or more than plain data.
    """
    text = read_text(path)
    try:
        return yaml.load(text, _BoundedLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(f"{path} is not readable ({first_line})") from error
