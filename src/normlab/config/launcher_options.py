"""Options of a launcher that run code or name files: who may set them.

The shell commands in `setup` are a part of the script of a job. SLURM also gets
`additional_parameters` and every option that conf/ does not have, and some name files
to write. These options count only on the command line, and in the file of the launcher
that the command line picks.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from normlab.config.identity import configuration_directory
from normlab.config.overrides import typed_tree, typed_values
from normlab.config.schema import options
from normlab.files import parse_yaml, read_text

TOP = "hydra.launcher"
GROUP = "hydra/launcher"
HANDED_ON = ("setup", "additional_parameters")
UNSET = object()
SELF = "_self_"  # in a defaults list, the file itself
# In a defaults list, another launcher, whose options are merged with those of the file.
INHERITED = re.compile(rf"(?:/{GROUP}/)?([\w.-]+)@_here_|([\w.-]+)")


def check_launcher(
    launcher: Mapping[str, Any], words: Sequence[str], folders: Sequence[Path]
) -> None:
    """Refuse what only the command line may set of a launcher.

    Args:
        launcher: the resolved node `hydra.launcher`.
        words: the overrides of the command line.
        folders: folders of configurations that the command line names.

    Raises:
        ValueError: names the option.
    """
    restricted = _restricted(launcher)
    if not restricted:
        return
    typed = typed_tree(TOP, words)
    picked = _picked_file(words, folders)
    for name, value in restricted.items():
        key = f"{TOP}.{name}"
        _check_chosen(key, value, _part(typed, name), _part(picked, name))


def _refusal(key: str, written: Any) -> str:
    """Why an option is refused that the picked file has as `written`, or not at all."""
    if "${" in str(written):
        return (
            f"{key} must have no interpolation in the file that {GROUP}=NAME picks, "
            f"since other files may set what it stands for, or another file set it, "
            f"got {written} there: add ++{key}=VALUE to the command line"
        )
    return (
        f"{key} must be given on the command line, or by the launcher's own file if "
        f"{GROUP}=NAME picks it there; another file set it: add ++{key}=VALUE"
    )


def _restricted(launcher: Mapping[str, Any]) -> dict[str, Any]:
    """The options in `HANDED_ON` that are not empty, and those that conf/ lacks."""
    given = dict(launcher)
    target = given.pop("_target_", None)
    if not given:  # Hydra's launcher `basic`: no file of conf/ is read for it
        return {}
    known = _known_options(target)
    found = {}
    for name, value in given.items():
        is_free = name in known
        if name in HANDED_ON:
            is_free = not value
        if not is_free:
            found[name] = value
    return found


def _known_options(target: Any) -> set[str]:
    """The names of all options that conf/ has for the class of a launcher."""
    names = set()
    for option in options(GROUP).values():
        if option.target == target:
            for key in option.keys:
                name, *_ = key.removeprefix(f"{TOP}.").split(".")
                names.add(name)
    return names


def _picked_file(words: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """The content of the file of the launcher that the words pick."""
    for name in typed_values(GROUP, words):
        content = _with_inherited(name, folders)
        if content:
            return content
    return {}


def _with_inherited(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The content of the file of a launcher, merged with those that it inherits.

    Those lie in conf/ or beside the file: in another folder they may be of somebody
    else. In its defaults list, files of other groups and packages are left out.
    """
    own: dict[str, Any] = {}
    stem = name.removesuffix(".yaml")
    for folder in (configuration_directory(), *folders):
        path = folder / GROUP / f"{stem}.yaml"
        if path.is_file():
            own = _content(path)
            folders = [folder]
            break
    defaults = own.pop("defaults", None) or []
    if SELF not in defaults:
        defaults.append(SELF)
    merged: Any = OmegaConf.create()
    for entry in defaults:
        inherited = INHERITED.fullmatch(str(entry))
        if entry == SELF:
            merged = OmegaConf.merge(merged, own)
        elif inherited:
            other = inherited[1] or inherited[2]
            part = _with_inherited(other, folders)
            merged = OmegaConf.merge(merged, part)
    return _plain(merged)


def _content(path: Path) -> dict[str, Any]:
    """The content of a file as Hydra reads it, with its interpolations.

    In OmegaConf's YAML, `1e3` is a number and `2026-01-01` a text.
    """
    text = read_text(path)
    parse_yaml(text)  # refuses what exceeds the bounds
    return _plain(OmegaConf.create(text))


def _plain(content: Any) -> dict[str, Any]:
    """Keys and values with their interpolations; none of what is no mapping."""
    plain: Any = OmegaConf.to_container(content, resolve=False)
    return plain if isinstance(plain, dict) else {}


def _check_chosen(key: str, value: Any, typed: Any, written: Any) -> None:
    """Refuse a value that was not typed and is not as the picked file has it.

    A value that was typed replaces that of any file, except that keys and values are
    merged with those of files.

    Args:
        key: for the message.
        value: resolved, so that it differs from an interpolation in the file.
        typed: what the words set in its place.
        written: what the picked file has in its place.
    """
    if value == written:
        return
    if not isinstance(value, dict):
        if typed is UNSET or isinstance(typed, dict):
            raise ValueError(_refusal(key, written))
        return
    for name, inner in value.items():
        place = f"{key}.{name}"
        _check_chosen(place, inner, _part(typed, name), _part(written, name))


def _part(tree: Any, name: str) -> Any:
    if isinstance(tree, dict):
        return tree.get(name, UNSET)
    return UNSET
