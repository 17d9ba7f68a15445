"""What `--help` shows of training: the groups, their options and the general keys.

All of it comes from the files of conf/ and their comments. Nothing is composed, and
torch is not imported, so that the answer comes at once.
"""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from normlab.config.composition import check_config_dir, typed_config_dir
from normlab.config.schema import (
    Group,
    Key,
    Option,
    general_keys,
    groups,
    option_names,
    options,
    read_option,
)
from normlab.spelling import did_you_mean

FLAGS = ("--help", "-h")
MOST_COLUMNS = 100
INDENT = 24  # of what stands beside a name
HEADER = """\
usage: {program} [-m] [GROUP=NAME ...] [KEY=VALUE ...]

Train networks with a swappable normalization layer and say, with statistics,
what the layer did.

  {program} model=lenet5 norm=group            one run
  {program} -m norm=none,custom seed=0,1,2     a sweep: every combination
  {program} -m study=NAME                      the sweep of a study

  {program} --help norm                        the options of a group
  {program} --help norm=ghost                  the keys of an option
"""
FLAGS_TABLE = {
    "-m": "run a sweep: values with commas, range(10), or the axes of a file",
    "--config-dir FOLDER": "take options from this folder too, laid out as conf/",
    "--cfg job": "print the configuration and run nothing; --resolve fills in "
    "references",
    "--info, --hydra-help": "Hydra's own",
}


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether the words of a command ask for help."""
    return any(word in FLAGS for word in words)


def help_text(words: Sequence[str], program: str) -> str:
    """The help on what the words of a command name, or on everything.

    Args:
        words: of the command, such as `--help`, `--help norm` or `norm=ghost --help`.
        program: how the command is called.

    Raises:
        ValueError: a word names a group or an option that does not exist.
    """
    config_dir = typed_config_dir(words)
    if config_dir is not None:
        check_config_dir(config_dir)
    subjects = [word.lstrip("+") for word in words if _is_subject(word, config_dir)]
    if not subjects:
        return "\n".join(_overview(program, config_dir))
    lines: list[str] = []
    for subject in subjects:
        name, _, option = subject.partition("=")
        if option:
            lines += _option_help(name, option, config_dir)
        else:
            lines += _group_help(name, config_dir)
    return "\n".join(lines)


def _is_subject(word: str, config_dir: Path | None) -> bool:
    """Whether a word names a group, alone or with an option.

    Other words are the rest of a command that was typed before `--help`.

    Raises:
        ValueError: a word alone is no group.
    """
    if word.startswith("-") or Path(word) == config_dir:
        return False
    name, has_value, _ = word.lstrip("+").partition("=")
    if name in groups():
        return True
    if not has_value:
        hint = did_you_mean(name, groups()) or f"; groups are {', '.join(groups())}"
        raise ValueError(f"there is no group {name!r}{hint}")
    return False


def _overview(program: str, config_dir: Path | None) -> Iterator[str]:
    yield HEADER.format(program=program)
    yield "groups, each with its options; * is picked without a word:"
    for group in groups().values():
        yield from _beside(f"  {group.name}", group.meaning)
        yield from _beside("", ", ".join(_marked_names(group, config_dir)))
    yield ""
    yield "flags:"
    for flag, meaning in FLAGS_TABLE.items():
        yield from _beside(f"  {flag}", meaning)
    yield ""
    yield "keys, with their defaults; an option has keys of its own:"
    keys = general_keys().values()
    yield from _keys(key for key in keys if not key.meaning.startswith("set by "))


def _marked_names(group: Group, config_dir: Path | None) -> list[str]:
    """The names of the options, with a star behind the one that is picked."""
    names = []
    for name in _all_names(group.name, config_dir):
        picked = name in group.default.strip("[]").split(",")
        names.append(f"{name}*" if picked else name)
    return names


def _all_names(group: str, config_dir: Path | None) -> list[str]:
    """The options of conf/ and of a folder of one's own."""
    names = option_names(group)
    if config_dir is not None:
        names += [name for name in option_names(group, config_dir) if name not in names]
    return names


def _group_help(name: str, config_dir: Path | None) -> Iterator[str]:
    group = groups()[name]
    yield f"{name}: {group.meaning}; {name}=NAME picks"
    yield ""
    found = dict(options(name))
    if config_dir is not None:
        found = options(name, config_dir) | found
    for option in found.values():
        yield from _beside(f"  {option.name}", first_sentence(option))
    if group.required:
        yield ""
        required = ", ".join(group.required)
        yield from _wrapped(f"A file of your own must have {required}.", 0)


def _option_help(group: str, names: str, config_dir: Path | None) -> Iterator[str]:
    for name in names.strip("[]").split(","):
        option = _find_option(group, name, config_dir)
        yield f"{group}={name}"
        yield from _wrapped(" ".join(option.heading), 2)
        yield ""
        yield from _keys(option.keys.values())


def _find_option(group: str, name: str, config_dir: Path | None) -> Option:
    if name in option_names(group):
        return read_option(group, name)
    if config_dir is not None and name in option_names(group, config_dir):
        return read_option(group, name, config_dir)
    known = _all_names(group, config_dir)
    hint = did_you_mean(name, known) or f"; {group} is one of {', '.join(known)}"
    raise ValueError(f"{group}={name} does not exist{hint}")


def first_sentence(option: Option) -> str:
    """What an option is, in the first sentence of its file, or the question there."""
    return re.split(r"(?<=[.?]) ", " ".join(option.heading))[0].rstrip(".")


def _keys(keys: Iterable[Key]) -> Iterator[str]:
    """Every key that can be set with its default, its type and its meaning."""
    for key in keys:
        if key.default:
            kind = "" if key.type == "true or false" else f"({key.type}) "
            yield f"  {key.name}={key.default}"
            yield from _wrapped(f"{kind}{key.meaning}", 6)


def _beside(name: str, text: str) -> Iterator[str]:
    """A name with a text to its right, or below it if the name is long."""
    lines = list(_wrapped(text, INDENT))
    if len(name) + 2 <= INDENT and lines:
        lines[0] = name.ljust(INDENT) + lines[0].lstrip()
        yield from lines
    else:
        yield name
        yield from lines


def _wrapped(text: str, indent: int) -> list[str]:
    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    blank = " " * indent
    return textwrap.wrap(
        text,
        max(width, indent + 30),
        initial_indent=blank,
        subsequent_indent=blank,
        break_on_hyphens=False,
    )
