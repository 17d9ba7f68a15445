"""Read files that may come from somebody else, within bounds of size and depth.

Run folders, checkpoints and configurations of strangers are data. They are read only if
they are regular files: opening a pipe would wait for ever, a device has no end, and a
link may lead anywhere.
"""

import errno
import json
import os
import re
import stat
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any

import yaml

MEGABYTE = 2**20
LARGEST_TEXT = 16 * MEGABYTE  # of result.json, config.yaml and the like
LARGEST_TABLE = 2048 * MEGABYTE  # of metrics.csv and statistics.csv
MOST_ALIASES = 100  # in a YAML file; nested ones multiply what they stand for
MOST_DEPTH = 100  # of lists and mappings in each other
LONGEST_INTEGER = 100  # characters in YAML, where 1:30 is 90 and takes quadratic time
INTEGER = "tag:yaml.org,2002:int"
# A list or a key that begins on the line of another one, such as `- - a`.
NESTED = re.compile(r"[-?:][ \t]+(?=[-?]\s)")
FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_regular(path: Path, largest: int | None = None) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: of the file, which must not be a link.
        largest: size in bytes that is not exceeded; None for any size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a link, a folder, a pipe or a device, or it is too large.
    """
    descriptor = _open(path, os.O_RDONLY, largest)
    return os.fdopen(descriptor, "rb")


def open_to_append(path: Path) -> BufferedRandom:
    """Open a regular file for reading, and for writing at its end.

    Args:
        path: of the file, which must not be a link. It is created if it does not exist.

    Raises:
        ValueError: it is a link, a pipe or a device.
    """
    descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, None)
    return os.fdopen(descriptor, "ab+")


def _open(path: Path, flags: int, largest: int | None) -> int:
    """The descriptor of a regular file."""
    # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise ValueError(f"{path} must be a regular file") from error
        raise
    try:
        _check(os.fstat(descriptor), path, largest)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def refuse_link(path: Path) -> None:
    """Refuse a link where files are replaced or deleted: it may lead anywhere.

    Raises:
        ValueError: it is a link.
    """
    if path.is_symlink():
        raise ValueError(
            f"{path} must not be a link, since files there are replaced or deleted; "
            f"delete the link, or move what it leads to into its place"
        )


def _check(status: os.stat_result, path: Path, largest: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} must be a regular file")
    if largest is not None and status.st_size > largest:
        raise ValueError(
            f"{path} must have at most {largest // MEGABYTE} MiB, "
            f"it has {status.st_size / MEGABYTE:.0f}"
        )


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, or too large.
    """
    with open_regular(path, largest) as file:
        return file.read(largest + 1)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no regular file, too large, or not in UTF-8.
    """
    try:
        return read_bytes(path, largest).decode()
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


class _FastLoader(FAST_LOADER):
    """Plain types only, for text that cannot exceed the bounds."""


class _BoundedLoader(yaml.SafeLoader):
    """Plain types only, with few aliases and little depth.

    An alias may not stand for something that holds aliases itself: nine levels of nine
    aliases each would stand for 387 million values.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.aliases = 0
        self.depth = 0
        self.aliased_nodes: set[int] = set()
        self.nodes_with_aliases: set[int] = set()

    def compose_node(self, parent: Any, index: Any) -> Any:
        is_alias = self.check_event(yaml.AliasEvent)
        aliases_before = self.aliases
        self.aliases += is_alias
        self.depth += 1
        if self.aliases > MOST_ALIASES:
            raise yaml.YAMLError(f"more than {MOST_ALIASES} aliases")
        if self.depth > MOST_DEPTH:
            raise yaml.YAMLError(f"deeper than {MOST_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias:
            self.aliased_nodes.add(id(node))
        elif self.aliases > aliases_before:
            self.nodes_with_aliases.add(id(node))
        # A node that holds itself gets into both sets when it is complete.
        if self.aliased_nodes & self.nodes_with_aliases:
            raise yaml.YAMLError("an alias of something that holds aliases")
        return node


def _short_integer(loader: Any, node: Any) -> int:
    """An integer of bounded length.

    Longer ones take quadratic time, and Python does not print them.
    """
    text = loader.construct_scalar(node)
    if len(text) > LONGEST_INTEGER:
        raise yaml.YAMLError(f"an integer of more than {LONGEST_INTEGER} characters")
    number: int = loader.construct_yaml_int(node)
    return number


_FastLoader.add_constructor(INTEGER, _short_integer)
_BoundedLoader.add_constructor(INTEGER, _short_integer)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file: dicts, lists, strings, numbers, booleans and None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no readable YAML, or more than plain data.
    """
    text = read_text(path)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is not readable ({error})") from error


def parse_yaml(text: str) -> Any:
    """The content of a YAML document, within the bounds of `read_yaml`.

    Raises:
        ValueError: it is no readable YAML, or more than plain data; in one line.
    """
    # Text without aliases, with few brackets and without deep indentation cannot exceed
    # the bounds, and the parser in C, which knows no bounds, is ten times faster.
    brackets = text.count("[") + text.count("{") + len(NESTED.findall(text))
    is_deep = brackets >= MOST_DEPTH or " " * MOST_DEPTH in text
    is_harmless = "*" not in text and not is_deep
    loader = _FastLoader if is_harmless else _BoundedLoader
    try:
        return yaml.load(text, loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    # What the constructors of PyYAML raise for values such as `!!int ""`.
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError("a value does not fit its tag") from error
