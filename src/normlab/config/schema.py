"""What conf/ says of every key: its type, default and meaning.

The files of conf/ and their comments are the schema. From it follow the check of a
configuration (`rules.py`), the output of `--help` and the reference in docs/.

A comment may begin with the type in brackets, `(null or number above 0) what the key
means`; see `types.py` for the words. Without one, the type is that of the default. A
default of null needs one, and `null or` goes without saying there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from normlab.config.identity import configuration_directory
from normlab.config.types import Rule, rule_of, type_of
from normlab.config.yaml_comments import Commented, CommentedFile, read_commented

# Hydra's own keys, and those that build an object: explained once, not for every file.
NOT_SETTINGS = {"defaults", "_target_", "_partial_", "_recursive_", "load", "choices"}
# Where a file names what it builds.
TARGETS = (("_target_",), ("reparametrize", "_target_"))
AXES = "hydra.sweeper.params"  # what stands below it are keys of a run
# Groups whose files set keys of other groups.
RECIPES = ("experiment", "debug", "study")


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: as the command line has it, such as `optimizer.lr`.
        default: as YAML writes it; empty for a key that holds others.
        type: in words, such as `null or text`; empty for a key that holds others.
        meaning: the comment without the type.
    """

    name: str
    default: str
    type: str
    meaning: str

    @property
    def rule(self) -> Rule:
        """What the type asks of a value."""
        return rule_of(self.type)


@dataclass(frozen=True)
class Option:
    """A file of a group, such as `norm=custom`.

    Attributes:
        group: the folder, such as `hydra/sweeper`.
        name: the file without its ending.
        heading: lines of the comment on top.
        keys: by name.
        target: dotted path of what the file builds; empty if it builds nothing.
        source: the text of the file.
    """

    group: str
    name: str
    heading: list[str]
    keys: dict[str, Key]
    target: str
    source: str


@dataclass(frozen=True)
class Group:
    """A folder of conf/, from which a command picks a file.

    Attributes:
        name: of the folder, such as `norm` or `hydra/sweeper`.
        default: the option that is picked without a word on the command line.
        meaning: what the group is for.
        required: keys that every file of the group must have.
    """

    name: str
    default: str
    meaning: str
    required: tuple[str, ...]


@cache
def groups() -> dict[str, Group]:
    """The groups, in the order of the defaults lists that name them."""
    named = _groups_of(_read("config.yaml"), "")
    sweeper = "hydra/sweeper"
    for option in option_names(sweeper):
        file = _read(f"{sweeper}/{option}.yaml")
        named |= _groups_of(file, f"{sweeper}/")
    found = {}
    for name, group in named.items():
        if option_names(name):
            found[name] = group
    return found


def _groups_of(file: CommentedFile, prefix: str) -> dict[str, Group]:
    """The groups of a defaults list: `what it is for; every option must have a, b`."""
    found = {}
    for name, entry in file.defaults.items():
        meaning, _, required = entry.comment.partition("; every option must have ")
        keys = re.findall(r"\w+", required)
        full_name = f"{prefix}{name}"
        found[full_name] = Group(
            name=full_name,
            default=entry.source,
            meaning=meaning,
            required=tuple(keys),
        )
    return found


def option_names(group: str, folder: Path | None = None) -> list[str]:
    """The names of the options of a group.

    Args:
        group: such as `norm`.
        folder: a folder with the layout of conf/; None for conf/ itself.
    """
    root = folder or configuration_directory()
    files = (root / group).glob("*.yaml")
    return sorted(file.stem for file in files)


@cache
def options(group: str, folder: Path | None = None) -> dict[str, Option]:
    """The options of a group, by name.

    Args:
        group: such as `norm`.
        folder: a folder with the layout of conf/; None for conf/ itself.
    """
    found = {}
    for name in option_names(group, folder):
        found[name] = read_option(group, name, folder)
    return found


@cache
def read_option(group: str, name: str, folder: Path | None = None) -> Option:
    """The option of a group with a name.

    Args:
        group: such as `norm`.
        name: of the file, without its ending.
        folder: a folder with the layout of conf/; None for conf/ itself.
    """
    root = folder or configuration_directory()
    path = root / group / f"{name}.yaml"
    text = path.read_text()
    file = read_commented(text)
    parents: tuple[str, ...] = ()
    if file.package != "_global_":
        parents = tuple(group.split("/"))
    target = ""
    keys = _inherited(group, file)
    for path_of_key, entry in file.keys.items():
        if path_of_key in TARGETS:
            target = str(entry.value or "")
        if not _is_setting(path_of_key):
            continue
        key = ".".join((*parents, *path_of_key))
        is_axis = key.startswith(f"{AXES}.")
        if not is_axis:
            inherited = keys.get(key)
            keys[key] = _key(key, entry, inherited)
    return Option(
        group=group,
        name=name,
        heading=file.heading,
        keys=keys,
        target=target,
        source=text,
    )


def _is_setting(path: tuple[str, ...]) -> bool:
    return NOT_SETTINGS.isdisjoint(path)


def has_option(group: str, name: str) -> bool:
    """Whether conf/ itself has an option."""
    return (configuration_directory() / group / f"{name}.yaml").is_file()


@cache
def general_keys() -> dict[str, Key]:
    """The keys of `conf/config.yaml` itself, without those of Hydra."""
    keys = {}
    file = _read("config.yaml")
    for path, entry in file.keys.items():
        if path[0] != "hydra" and _is_setting(path):
            name = ".".join(path)
            keys[name] = _key(name, entry)
    return keys


def known_keys() -> set[str]:
    """Every key that a command may set, over all options of all groups."""
    names = set(general_keys())
    for group in groups():
        for option in options(group).values():
            names.update(option.keys)
    return names


@cache
def common_keys(group: str) -> dict[str, Key]:
    """The keys of all options of a group; a value may be what any of them allows.

    Options of one's own, and keys that an option was given with `+`, are checked by
    these.
    """
    found: dict[str, Key] = {}
    for option in options(group).values():
        for name, key in option.keys.items():
            if name in found:
                key = _with_either_type(found[name], key)
            found[name] = key
    return found


def _with_either_type(first: Key, second: Key) -> Key:
    """The first key, which may also have the type of the second."""
    if second.type in ("", first.type):
        return first
    if not first.type:
        return replace(first, type=second.type)
    return replace(first, type=f"{first.type} or {second.type}")


def keys_of(group: str, choice: str, names: Iterable[str]) -> dict[str, Key]:
    """The keys by which the settings of a group are checked.

    Args:
        group: such as `norm`.
        choice: the picked option, which may be one of the user's own.
        names: the keys of the group that a configuration has, without the group.
    """
    keys: dict[str, Key] = {}
    if has_option(group, choice):
        keys = read_option(group, choice).keys
    needed = {f"{group}.{name}" for name in names}
    has_all = needed <= keys.keys()
    if has_all:
        return keys
    return common_keys(group) | keys


@cache
def defaults() -> dict[str, Any]:
    """The keys of conf/config.yaml with their defaults, some of them unresolved."""
    tree: dict[str, Any] = {}
    file = _read("config.yaml")
    for path, entry in file.keys.items():
        if path[0] in ("hydra", "defaults"):
            continue
        *parents, last = path
        node = tree
        for name in parents:
            node = node[name]
        node[last] = entry.value if entry.source else {}
    return tree


def undocumented() -> list[str]:
    """Keys without a meaning, each with the file that has it."""
    missing = []
    for name, key in general_keys().items():
        if not key.meaning and not _holds_keys(name, general_keys()):
            missing.append(f"conf/config.yaml: {name}")
    for name, group in groups().items():
        if not group.meaning:
            missing.append(f"the defaults list that names {name}")
        for option in options(name).values():
            missing += _undocumented(option)
    return missing


def _undocumented(option: Option) -> list[str]:
    file = f"conf/{option.group}/{option.name}.yaml"
    missing = []
    if not option.heading:
        missing.append(f"{file}: the first line")
    for name, key in option.keys.items():
        is_own = option.group not in RECIPES or name.startswith("study.")
        if key.meaning or not is_own:
            continue
        if not _holds_keys(name, option.keys):
            missing.append(f"{file}: {name}")
    return missing


def _holds_keys(name: str, keys: dict[str, Key]) -> bool:
    return any(other.startswith(f"{name}.") for other in keys)


@cache
def _read(file: str) -> CommentedFile:
    path = configuration_directory() / file
    return read_commented(path.read_text())


def _inherited(group: str, file: CommentedFile) -> dict[str, Key]:
    """Keys of the files of the same folder that a defaults list names."""
    keys: dict[str, Key] = {}
    entry = file.keys.get(("defaults",))
    if entry is None:
        return keys
    for word in entry.value:
        if not isinstance(word, str) or word == "_self_":
            continue
        base, _, package = word.partition("@")
        folder = package or group
        if has_option(folder, base):
            inherited = read_option(folder, base)
            keys |= inherited.keys
    return keys


def _key(name: str, entry: Commented, inherited: Key | None = None) -> Key:
    """A key from its entry; a key without a comment has that of the inherited one."""
    if inherited is not None and not entry.comment:
        return replace(inherited, default=entry.source)
    match = re.match(r"(?:\((.*?)\) )?(.*)", entry.comment)
    assert match is not None
    stated, meaning = match.groups()
    kind = stated or _by_value(entry)
    is_null = entry.value is None and entry.source != ""
    if stated and is_null:
        kind = f"null or {stated}"
    return Key(
        name=name,
        default=entry.source,
        type=kind,
        meaning=meaning,
    )


def _by_value(entry: Commented) -> str:
    if not entry.source:
        return ""
    if entry.source.startswith("${"):
        return "anything"
    return type_of(entry.value)


def look_up(config: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Whether a configuration has a dotted key, and the value of it."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            return False, None
        node = node[name]
    return True, node
