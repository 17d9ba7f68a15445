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


# Keys with their paths, one after the other.
Leaves = Iterator[tuple[Path, Commented]]


def read_commented(text: str) -> CommentedFile:
    """Parse a file whose top level is a mapping.

    Raises:
        ValueError: the top level is something else.
    """
    lines = text.splitlines()
    heading = _heading(lines)
    file = _Text(lines, len(heading))
    package = ""
    if heading and heading[0].startswith("@package"):
        _, package, *_ = heading.pop(0).split()

    node = yaml.compose(text, FAST_LOADER)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("the top level of a configuration must be a mapping")
    leaves = file.leaves(node, ())
    keys = dict(leaves)
    defaults = {}
    for key, value in node.value:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            named = file.groups(value)
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


@dataclass(frozen=True)
class _Text:
    """The text of a file, in which YAML marks the places of keys and values.

    Attributes:
        lines: of the whole file.
        first_line: number of the first line that is not part of the heading.
    """

    lines: list[str]
    first_line: int

    def groups(self, node: yaml.SequenceNode) -> Iterator[tuple[str, Commented]]:
        """The items of a defaults list that pick an option: group and entry."""
        for item in node.value:
            if not isinstance(item, yaml.MappingNode):
                continue
            key, value = item.value[0]
            group = key.value.removeprefix("override ")
            comment = self.comment(key, value)
            yield group.strip("/"), self.leaf(value, comment)

    def leaves(self, node: yaml.MappingNode, prefix: Path) -> Leaves:
        """Walk a mapping in block style, whose own path is the prefix."""
        for key, value in node.value:
            path = (*prefix, key.value)
            comment = self.comment(key, value)
            holds_keys = isinstance(value, yaml.MappingNode) and value.value
            if not holds_keys:
                yield path, self.leaf(value, comment)
                continue
            yield path, Commented(None, "", comment)
            if value.flow_style:
                yield from self.flow_leaves(value, path, comment)
            else:
                yield from self.leaves(value, path)

    def flow_leaves(
        self,
        node: yaml.MappingNode,
        path: Path,
        comment: str,
    ) -> Leaves:
        """Keys of a mapping in one line, `{flip: false, crop_padding: 0}`.

        Its comment has the form `flip: what it means; crop_padding: what it means`.
        """
        names = [key.value for key, _ in node.value]
        meanings = _split_by_names(comment, names)
        for name, (_, value) in zip(names, node.value, strict=True):
            meaning = meanings.get(name, "")
            yield (*path, name), self.leaf(value, meaning)

    def comment(self, key: yaml.Node, value: yaml.Node) -> str:
        """The comment on the key's line, or else the one on the lines above."""
        end = value.end_mark
        in_block = value.start_mark.line > key.end_mark.line
        if in_block:
            end = key.end_mark
        rest = self._rest_of_line(end)
        behind = re.search(r"(?:^|\s)#\s?(.*)$", rest)
        if behind is not None:
            return behind[1].strip()
        first = self.first_line
        last = key.start_mark.line
        before = self.lines[first:last]
        return _last_comment(before)

    def _rest_of_line(self, mark: yaml.Mark) -> str:
        """What stands behind a place in its line; empty behind the last line."""
        if mark.line >= len(self.lines):
            return ""
        line = self.lines[mark.line]
        return line[mark.column :]

    def leaf(self, node: yaml.Node, comment: str) -> Commented:
        """The entry of a key that holds no others."""
        start = node.start_mark
        end = node.end_mark
        value = SafeConstructor().construct_document(node)
        if start.line == end.line:
            line = self.lines[start.line]
            source = line[start.column : end.column]
        else:
            source = yaml.safe_dump(value, default_flow_style=True, width=1000)
        return Commented(value, source.strip(), comment)


def _split_by_names(comment: str, names: list[str]) -> dict[str, str]:
    """The text behind every name in `flip: what it means; crop: what it means`."""
    escaped = [re.escape(name) for name in names]
    any_name = "|".join(escaped)
    parts = re.split(rf"(?:^|;\s*)({any_name}): ", comment)
    described = parts[1::2]
    texts = parts[2::2]
    return dict(zip(described, texts, strict=True))


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
