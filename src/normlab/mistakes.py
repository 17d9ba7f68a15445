"""The user's mistakes, each explained in one or two lines."""

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import yaml
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normlab.config.composition import compose_config, typed_config_dir
from normlab.config.identity import configuration_directory
from normlab.config.schema import general_keys
from normlab.config.trust import OwnNormError
from normlab.spelling import key_hint, option_hint
from normlab.synonyms import KEYS, REMARKS

MISTAKES = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
Explain = Callable[[re.Match[str]], str | None]
MOST_OPTIONS = 6  # named in a message
# How OmegaConf introduces the message of a resolver (omegaconf 2.3).
OF_RESOLVER = "ValueError raised while resolving interpolation: "


def reason(error: Exception) -> str:
    """Why a job failed, in one or two lines.

    The user's mistakes are explained; other exceptions are shown with their class.
    """
    if isinstance(error, MISTAKES):
        return explain(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def explain(error: Exception) -> str:
    """What the user did wrong, with the nearest name if one was misspelt."""
    if isinstance(error, InstantiationException) and isinstance(
        error.__cause__, Exception
    ):
        return _explain_call(error, error.__cause__)
    if not str(error) and isinstance(error.__cause__, Exception):
        return explain(error.__cause__)  # Hydra's error says nothing itself
    message = str(error).removeprefix(OF_RESOLVER)
    if isinstance(error, OverrideParseException):
        return _explain_word(error.override, message)
    for pattern, explain_match in HYDRAS_SENTENCES.items():
        if match := re.search(pattern, message):
            explanation = _explained(explain_match, match)
            if explanation is not None:
                return explanation
    lines = [line.strip() for line in message.splitlines()[:2]]
    return "\n".join(filter(None, lines)) or type(error).__name__


def _explained(explain_match: Explain, match: re.Match[str]) -> str | None:
    """An explanation; None if it needs a configuration that cannot be composed."""
    try:
        return explain_match(match)
    except MISTAKES:
        return None


def _explain_call(error: InstantiationException, cause: Exception) -> str:
    """An exception of the class or function that a `_target_` names."""
    message = str(cause) or type(cause).__name__
    if not isinstance(cause, MISTAKES):
        message = reason(cause)
    if isinstance(cause, OwnNormError):
        return message
    target = re.search(r"'([\w.]+)'", str(error))
    return f"{target.group(1)}: {message}" if target else message


def _explain_word(word: str, message: str) -> str:
    """A word of the command line that Hydra cannot read."""
    if "=" not in word:
        return (
            f"{word!r} must be KEY=VALUE, as in optimizer.lr=0.1, or GROUP=NAME, as in "
            "norm=custom"
        )
    problem = message.splitlines()[0]
    key, _, value = word.partition("=")
    return f"{word} cannot be read ({problem}); a text is \"{key}='{value}'\""


def _explain_option(match: re.Match[str]) -> str:
    """An option that does not exist; Hydra lists those that do, one per line."""
    group, _, option = match[1].rpartition("/")
    options = re.findall(r"^\t(\S+)$", match.string, re.MULTILINE)
    return _no_such_option(group, option, options)


def _no_such_option(group: str, option: str, options: list[str]) -> str:
    hint = option_hint(group, option, options)
    message = (
        f"{group}={option} does not exist{hint}; {group} is one of {', '.join(options)}"
    )
    if group == "model":
        message += "; model=torchvision model.name=NAME takes networks of torchvision"
    return message


def _explain_value_of_group(match: re.Match[str]) -> str | None:
    """A group that was set to null or to a number; Hydra does not say which group."""
    groups = _groups()
    for word in sys.argv[1:]:
        group, _, values = word.lstrip("+").partition("=")
        for value in values.split(",") if group in groups else ():
            if _as_yaml(value) is None and group in ("experiment", "debug", "study"):
                return f"{group} is null unless one is named: leave out {word}"
            if not isinstance(_as_yaml(value), str):
                return _no_such_option(group, value, _options(group))
    return None


def _explain_list(match: re.Match[str]) -> str:
    """Several values without `-m`."""
    word = match[1]
    key, _, values = word.partition("=")
    advice = "add -m to run each of them"
    takes_list = OmegaConf.is_list(OmegaConf.select(_composed(), key))
    if key in ("logger", "callbacks") or takes_list:
        advice += f", or write {key}=[{values}] for a list"
    return f"{word} has several values: {advice}"


def _explain_deletion(match: re.Match[str]) -> str:
    """A value that cannot be removed: it does not exist, or is null already."""
    key = match[1]
    if key in _known_keys():
        return f"~{key} cannot remove {key}: it is null already, which means none"
    return _no_such_key(key)


def _explain_other_value(match: re.Match[str]) -> str:
    """`~key=value` for another value than the key has."""
    return f"~{match[1]}={match[3]} removes nothing: {match[1]} is {match[2]}"


def _explain_addition(match: re.Match[str]) -> str:
    """`+key=value` for a key that exists."""
    return f"{match[1]} exists already: write {match[1]}=VALUE, without the plus"


def _explain_key(match: re.Match[str]) -> str:
    return _no_such_key(match[1])


def _no_such_key(key: str) -> str:
    part = "hydra" if key.startswith("hydra.") else "job"
    missing = f"the configuration has no key {key!r}"
    name = key.rpartition(".")[2]
    remark = REMARKS.get(name)
    if remark is not None:
        return f"{missing}: {remark}"
    owners = _owners(key)
    if owners:
        return f"{missing}: it belongs to {owners}"
    if _may_hold_keys(key.rpartition(".")[0]):
        return f"{missing} yet: add it with a plus, +{key}=VALUE"
    known = _known_keys()
    meant = KEYS.get(name, ())
    if not any(words.partition("=")[0] in known for words in meant):
        for other in meant:
            if owners := _owners(other):
                return f"{missing}: {other} belongs to {owners}"
    if hint := key_hint(key, known):
        return f"{missing}{hint}; `--cfg {part}` prints all keys"
    for group in _groups():
        if owners := _owners(f"{group}.{name}"):
            return f"{missing}: {group}.{name} belongs to {owners}"
    return f"{missing}; `--cfg {part}` prints all keys"


def _may_hold_keys(key: str) -> bool:
    """Whether a key that is null may hold keys and values, as `task.loss` may."""
    found = general_keys().get(key)
    return found is not None and found.type != "" and found.rule.holds({})


def _owners(key: str) -> str:
    """`norm=group` for `norm.num_groups`; empty if no option has such a key."""
    options = _options_with(key)
    if not options:
        return ""
    group, _ = _group_of(key)
    names = ", ".join(options[:MOST_OPTIONS])
    if len(options) > MOST_OPTIONS:
        names += f" and {len(options) - MOST_OPTIONS} more"
    return f"{group}={names}"


# Hydra's sentences (hydra-core 1.3.8), and who explains them.
HYDRAS_SENTENCES: dict[str, Explain] = {
    r"Could not find '([^']+)'": _explain_option,
    r"Config group override must be": _explain_value_of_group,
    r"Ambiguous value for argument '(.+)'\n": _explain_list,
    r"Sweep parameters '(.+)' requires --multirun": _explain_list,
    r"Could not delete from config. '([^']+)' does not exist": _explain_deletion,
    r"Could not delete from config. The value of '([^']+)' is (.+) and not (.+)\.": (
        _explain_other_value
    ),
    r"Could not append to config. An item is already at '([^']+)'": _explain_addition,
    r"Could not (?:override|delete) '?([\w./@-]+)'?": _explain_key,
}


def _as_yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except YAMLError:
        return text


def _groups() -> list[str]:
    """Names of the groups of options, those of Hydra that we have options for too."""
    directory = configuration_directory()
    groups = sorted(folder.name for folder in directory.iterdir() if folder.is_dir())
    return [*groups, "hydra/launcher", "hydra/sweeper"]


def _options(group: str) -> list[str]:
    """The options of a group that come with this project."""
    files = (configuration_directory() / group).glob("*.yaml")
    return sorted(file.stem for file in files)


def _options_with(key: str) -> list[str]:
    """The options of a group that have a key such as `norm.num_groups`."""
    group, name = _group_of(key)
    if not name or group not in _groups():
        return []
    found = []
    for option in _options(group):
        path = configuration_directory() / group / f"{option}.yaml"
        content = OmegaConf.load(path)
        if OmegaConf.is_dict(content) and name in content:
            found.append(option)
    return found


def _group_of(key: str) -> tuple[str, str]:
    """The group of a key and the rest of its name: `hydra/sweeper` and `n_trials`."""
    parts = key.split(".")
    length = 2 if parts[0] == "hydra" else 1
    return "/".join(parts[:length]), ".".join(parts[length:])


def _known_keys() -> list[str]:
    """Names of the groups, and all keys with the options that the command line picks.

    Hydra's own keys are among them.
    """
    config = OmegaConf.to_container(_composed(), resolve=False)
    return [*_groups(), *_dotted_keys(config)]


def _composed() -> DictConfig:
    """The configuration with the options that the command line picks, and no more."""
    groups = _groups()
    picked: list[str] = []
    for word in sys.argv[1:]:
        is_choice = word.partition("=")[0] in groups and "," not in word
        if is_choice and isinstance(_as_yaml(word.partition("=")[2]), str):
            picked.append(word)
    return _compose(tuple(picked))


@cache
def _compose(overrides: tuple[str, ...]) -> DictConfig:
    command = sys.argv[1:]
    return compose_config(overrides, typed_config_dir(command), command)


def _dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{name}.")
