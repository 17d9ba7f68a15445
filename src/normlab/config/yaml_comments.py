"""The keys of a YAML file, each with its value and its comment."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from normlab.files import FAST_LOADER

Path = tuple[str, ...]


@dataclass(frozen=True)
class Commented:
    """One key of a file.

    Attributes:
        value: what YAML makes of it; None for a key that holds others.
        source: as the file writes it; empty for a key that holds others.
        comment: behind the value or on the lines above the key; empty without one.
    """

    value: Any
    source: str
    comment: str


@dataclass(frozen=True)
class CommentedFile:
    """A file of `conf/`.

    Attributes:
        heading: the comment on top of the file, line by line, without Hydra's package.
        keys: the leaves, by their path.
        package: "_global_" if the file says so, else empty.
        defaults: the groups of the defaults list, by name; of a group that the list
            overrides, without the word `override`.
    """

    heading: list[str]
    keys: dict[Path, Commented]
    package: str
    defaults: dict[str, Commented]


def read_commented(text: str) -> CommentedFile:
    """Parse a file whose top level is a mapping.

    Raises:
        ValueError: the top level is something else.
    """
    lines = text.splitlines()
    heading = []
    for line in lines:
        if not line.startswith("#"):
            break
        heading.append(line.removeprefix("#").removeprefix(" "))
    first_line = len(heading)
    package = ""
    if heading and heading[0].startswith("@package"):
        package = heading.pop(0).split()[1]

    node = yaml.compose(text, FAST_LOADER)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("the top level of a configuration must be a mapping")
    keys = dict(_leaves(node, lines, (), first_line))
    defaults = {}
    for key, value in node.value:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            defaults = dict(_groups(value, lines, first_line))
    return CommentedFile(heading, keys, package, defaults)


def _groups(
    node: yaml.SequenceNode, lines: list[str], first_line: int
) -> Iterator[tuple[str, Commented]]:
    """The items of a defaults list that pick an option: group, option and comment."""
    for item in node.value:
        if isinstance(item, yaml.MappingNode):
            key, value = item.value[0]
            name = key.value.removeprefix("override ").strip("/")
            comment = _comment(key, value, lines, first_line)
            yield name, _leaf(value, lines, comment)


def _leaves(
    node: yaml.MappingNode, lines: list[str], prefix: Path, first_line: int
) -> Iterator[tuple[Path, Commented]]:
    """Walk a mapping in block style.

    Args:
        node: the mapping.
        lines: of the whole file.
        prefix: path of the mapping.
        first_line: the first line that is not part of the heading.
    """
    for key, value in node.value:
        path = (*prefix, key.value)
        comment = _comment(key, value, lines, first_line)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield path, Commented(None, "", comment)
            if value.flow_style:
                yield from _flow_leaves(value, lines, path, comment)
            else:
                yield from _leaves(value, lines, path, first_line)
        else:
            yield path, _leaf(value, lines, comment)


def _flow_leaves(
    node: yaml.MappingNode, lines: list[str], path: Path, comment: str
) -> Iterator[tuple[Path, Commented]]:
    """Keys of a mapping in one line, `{flip: false, crop_padding: 0}`.

    Its comment has the form `flip: what it means; crop_padding: what it means`.
    """
    names = [key.value for key, _ in node.value]
    pattern = rf"(?:^|;\s*)({'|'.join(map(re.escape, names))}): "
    parts = re.split(pattern, comment)
    meanings = dict(zip(parts[1::2], parts[2::2], strict=True))
    for key, value in node.value:
        meaning = meanings.get(key.value, "")
        yield (*path, key.value), _leaf(value, lines, meaning)


def _comment(
    key: yaml.Node, value: yaml.Node, lines: list[str], first_line: int
) -> str:
    """The comment on the key's line, or else the one on the lines above."""
    in_block = value.start_mark.line > key.end_mark.line
    end = key.end_mark if in_block else value.end_mark
    rest = lines[end.line][end.column :] if end.line < len(lines) else ""
    if behind := re.search(r"(?:^|\s)#\s?(.*)$", rest):
        return behind[1].strip()

    above: list[str] = []
    number = key.start_mark.line - 1
    while number >= first_line and lines[number].lstrip().startswith("#"):
        above.insert(0, lines[number].lstrip().lstrip("#").strip())
        number -= 1
    return " ".join(above)


def _leaf(node: yaml.Node, lines: list[str], comment: str) -> Commented:
    start, end = node.start_mark, node.end_mark
    value = SafeConstructor().construct_document(node)
    if start.line == end.line:
        source = lines[start.line][start.column : end.column].strip()
    else:
        source = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return Commented(value, source, comment)
