"""The options of every group of `conf/`, and the meaning of every key."""

import inspect
import re
from dataclasses import dataclass
from functools import cache

import yaml

from docs.paths import CONF
from docs.yaml_comments import Commented, CommentedFile, read_commented

# Folders of conf/, in the order of the reference.
GROUPS = (
    "dataset",
    "model",
    "norm",
    "optimizer",
    "scheduler",
    "device",
    "logger",
    "experiment",
    "study",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra/sweeper/sampler",
    "hydra/sweeper/pruner",
)
# Hydra's own keys, and those that build an object: explained once, not in every table.
NOT_SETTINGS = {"defaults", "_target_", "_partial_", "_recursive_", "load", "choices"}
AXES = "hydra.sweeper.params"  # what stands below it are keys of a run


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
        name: as the command line has it, such as `optimizer.lr`.
        default: as YAML writes it; empty for a key that holds others.
        type: in words.
        meaning: the comment.
    """

    name: str
    default: str
    type: str
    meaning: str


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


@cache
def options(group: str) -> dict[str, Option]:
    """The options of a group, by name."""
    files = sorted((CONF / group).glob("*.yaml"))
    return {path.stem: _option(group, path.stem) for path in files}


@cache
def general_keys() -> dict[str, Key]:
    """The keys of `conf/config.yaml` itself, without those of Hydra."""
    file = read_commented((CONF / "config.yaml").read_text())
    keys = {}
    for path, entry in file.keys.items():
        if path[0] != "hydra" and not NOT_SETTINGS & set(path):
            name = ".".join(path)
            keys[name] = _key(name, entry, "", "")
    return keys


def known_keys() -> set[str]:
    """Every key that a command may set, over all options of all groups."""
    names = set(general_keys())
    for group in GROUPS:
        for option in options(group).values():
            names |= set(option.keys)
    return names


def undocumented() -> list[str]:
    """Keys without a meaning, each with the file that has it."""
    missing = [
        f"conf/config.yaml: {key.name}"
        for key in general_keys().values()
        if not key.meaning and not _holds_keys(key.name, general_keys())
    ]
    for group in GROUPS:
        for option in options(group).values():
            missing += [
                f"conf/{group}/{option.name}.yaml: {key.name}"
                for key in option.keys.values()
                if not key.meaning
                and not _holds_keys(key.name, option.keys)
                and not _explained_elsewhere(group, key.name)
            ]
            if not option.heading:
                missing.append(f"conf/{group}/{option.name}.yaml: the first line")
    return missing


def _holds_keys(name: str, keys: dict[str, Key]) -> bool:
    return any(other.startswith(f"{name}.") for other in keys)


def _explained_elsewhere(group: str, name: str) -> bool:
    """Whether an experiment or a study sets a key that belongs to another group."""
    if group not in ("experiment", "study"):
        return False
    return not name.startswith("study.")


def _option(group: str, name: str) -> Option:
    text = (CONF / group / f"{name}.yaml").read_text()
    file = read_commented(text)
    prefix = () if file.package == "_global_" else tuple(group.split("/"))
    target = yaml.safe_load(text).get("_target_") or ""
    if "reparametrize" in yaml.safe_load(text):
        target = yaml.safe_load(text)["reparametrize"]["_target_"]

    keys = _inherited(group, file)
    for path, entry in file.keys.items():
        key = ".".join((*prefix, *path))
        if not NOT_SETTINGS & set(path) and not key.startswith(f"{AXES}."):
            inherited = keys[key].meaning if key in keys else ""
            keys[key] = _key(key, entry, target, inherited)
    return Option(group, name, file.heading, keys, target, text)


def _inherited(group: str, file: CommentedFile) -> dict[str, Key]:
    """Keys of the files of the same folder that a defaults list names."""
    keys: dict[str, Key] = {}
    defaults = file.keys.get(("defaults",), Commented([], "", ""))
    for word in defaults.value:
        if isinstance(word, str) and word != "_self_":
            base, _, package = word.partition("@")
            folder = package or group
            keys |= _option(folder, base).keys
    return keys


def _key(name: str, entry: Commented, target: str, inherited: str) -> Key:
    """A key from its entry.

    Where the default is null, the comment begins with the type: `(text) what it means`.
    """
    stated, meaning = re.match(r"(?:\((.*?)\) )?(.*)", entry.comment).groups()
    if stated and entry.value is None:
        stated = f"null or {stated}"
    kind = _tidy(stated or _type(name, entry, target))
    return Key(name, entry.source, kind, meaning or inherited)


def _tidy(kind: str) -> str:
    """The same words for the same type: without articles, null at the end."""
    words = re.sub(r"\b(?:a|an) (?=\w)", "", kind)
    if words.startswith("null or "):
        return f"{words.removeprefix('null or ')}, or null"
    return words


def _type(name: str, entry: Commented, target: str) -> str:
    """What a value must be: by its rule, the constructor's annotation, or the value."""
    from normlab.config.rules import RULES

    if name in RULES:
        return RULES[name].requirement
    return _annotated(name.rpartition(".")[2], target) or _by_value(entry)


WORDS = {
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "None": "null",
    "Sequence[int]": "list of whole numbers",
    "Sequence[str]": "list of names",
    "Mapping[str, Any]": "mapping",
}


@cache
def _signature(target: str) -> dict[str, inspect.Parameter]:
    from hydra.utils import get_object

    return dict(inspect.signature(get_object(target)).parameters)


def _annotated(argument: str, target: str) -> str:
    """The annotation of a constructor's argument in words; empty without one."""
    if not target or not target.startswith("normlab"):
        return ""
    parameter = _signature(target).get(argument)
    if parameter is None or parameter.annotation is parameter.empty:
        return ""
    text = inspect.formatannotation(parameter.annotation)
    text = text.replace("collections.abc.", "").replace("typing.", "")
    words = [WORDS.get(part.strip(), "") for part in text.split("|")]
    if not all(words):
        return ""
    return " or ".join(sorted(words, key=lambda word: word != "null"))


def _by_value(entry: Commented) -> str:
    if entry.source.startswith("${"):
        return "follows from other keys"
    if isinstance(entry.value, bool):
        return "true or false"
    if isinstance(entry.value, int):
        return "whole number"
    if isinstance(entry.value, float):
        return "number"
    if isinstance(entry.value, str):
        return _of_text(entry.value)
    if isinstance(entry.value, list):
        return "list"
    if isinstance(entry.value, dict):
        return "mapping"
    return "null or a value"


def _of_text(value: str) -> str:
    try:  # YAML 1.1 takes 1e-5 for text, Hydra for a number
        float(value)
    except ValueError:
        return "text"
    return "number"
