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
    heading = _heading(lines)
    first_line = len(heading)
    package = ""
    if heading and heading[0].startswith("@package"):
        _, package, *_ = heading.pop(0).split()

    node = yaml.compose(text, FAST_LOADER)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("the top level of a configuration must be a mapping")
    leaves = _leaves(node, lines, (), first_line)
    keys = dict(leaves)
    defaults = {}
    for key, value in node.value:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            named = _groups(value, lines, first_line)
            defaults = dict(named)
    return CommentedFile(heading, keys, package, defaults)


def _heading(lines: list[str]) -> list[str]:
    """The comment on top of a file, line by line."""
    heading = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment = line.removeprefix("#")
        heading.append(comment.removeprefix(" "))
    return heading


def _groups(
    node: yaml.SequenceNode, lines: list[str], first_line: int
) -> Iterator[tuple[str, Commented]]:
    """The items of a defaults list that pick an option: group, option and comment."""
    for item in node.value:
        if not isinstance(item, yaml.MappingNode):
            continue
        key, value = item.value[0]
        group = key.value.removeprefix("override ")
        comment = _comment(key, value, lines, first_line)
        yield group.strip("/"), _leaf(value, lines, comment)


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
        holds_keys = isinstance(value, yaml.MappingNode) and value.value
        if not holds_keys:
            yield path, _leaf(value, lines, comment)
            continue
        yield path, Commented(None, "", comment)
        if value.flow_style:
            yield from _flow_leaves(value, lines, path, comment)
        else:
            yield from _leaves(value, lines, path, first_line)


def _flow_leaves(
    node: yaml.MappingNode, lines: list[str], path: Path, comment: str
) -> Iterator[tuple[Path, Commented]]:
    """Keys of a mapping in one line, `{flip: false, crop_padding: 0}`.

    Its comment has the form `flip: what it means; crop_padding: what it means`.
    """
    names = [re.escape(key.value) for key, _ in node.value]
    any_name = "|".join(names)
    parts = re.split(rf"(?:^|;\s*)({any_name}): ", comment)
    described = parts[1::2]
    texts = parts[2::2]
    meanings = dict(zip(described, texts, strict=True))
    for key, value in node.value:
        name = key.value
        meaning = meanings.get(name, "")
        yield (*path, name), _leaf(value, lines, meaning)


def _comment(
    key: yaml.Node, value: yaml.Node, lines: list[str], first_line: int
) -> str:
    """The comment on the key's line, or else the one on the lines above."""
    end = value.end_mark
    in_block = value.start_mark.line > key.end_mark.line
    if in_block:
        end = key.end_mark
    rest = ""
    if end.line < len(lines):
        rest = lines[end.line][end.column :]
    behind = re.search(r"(?:^|\s)#\s?(.*)$", rest)
    if behind is not None:
        return behind[1].strip()
    before = lines[first_line : key.start_mark.line]
    return _last_comment(before)


def _last_comment(lines: list[str]) -> str:
    """The comment in the last lines, without a break."""
    comments = []
    for line in reversed(lines):
        text = line.lstrip()
        if not text.startswith("#"):
            break
        comment = text.lstrip("#")
        comments.append(comment.strip())
    return " ".join(reversed(comments))


def _leaf(node: yaml.Node, lines: list[str], comment: str) -> Commented:
    start = node.start_mark
    end = node.end_mark
    value = SafeConstructor().construct_document(node)
    if start.line == end.line:
        line = lines[start.line]
        source = line[start.column : end.column]
    else:
        source = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return Commented(value, source.strip(), comment)
