"""The user's mistakes, each explained in one or two lines."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normlab.config.identity import configuration_directory
from normlab.spelling import did_you_mean

MISTAKES = (HydraException, OmegaConfBaseException, YAMLError, ValueError)

# Hydra's sentences (hydra-core 1.3.8) about an option that does not exist, with a list
# of those that do, and about a key that does not exist.
UNKNOWN_OPTION = re.compile(r"Could not find '([^']+)'")
LISTED_OPTION = re.compile(r"^\t(\S+)$", re.MULTILINE)
UNKNOWN_KEY = re.compile(
    r"Could not (?:override|append to|delete from config[^']*) '?([\w./@-]+)'?"
)


def reason(error: Exception) -> str:
    """Why a job failed, in one or two lines.

    The user's mistakes are explained; other exceptions are shown with their class.
    """
    if isinstance(error, MISTAKES):
        return explain(error)
    return f"{type(error).__name__}: {error}"


def explain(error: Exception) -> str:
    """What the user did wrong, with the nearest name if one was misspelt."""
    if isinstance(error, InstantiationException) and isinstance(
        error.__cause__, Exception
    ):
        return _explain_call(error, error.__cause__)
    message = str(error)
    if option := UNKNOWN_OPTION.search(message):
        return _explain_option(option.group(1), LISTED_OPTION.findall(message))
    if key := UNKNOWN_KEY.search(message):
        return _explain_key(key.group(1))
    lines = [line.strip() for line in message.splitlines()[:2]]
    return "\n".join(line for line in lines if line)


def _explain_call(error: InstantiationException, cause: Exception) -> str:
    """An exception of the class or function that a `_target_` names."""
    message = str(cause) if isinstance(cause, MISTAKES) else reason(cause)
    target = re.search(r"'([\w.]+)'", str(error))
    return f"{target.group(1)}: {message}" if target else message


def _explain_option(path: str, options: list[str]) -> str:
    group, _, option = path.rpartition("/")
    hint = did_you_mean(option, options, cutoff=0.5)
    return (
        f"{group}={option} does not exist{hint}; {group} is one of {', '.join(options)}"
    )


def _explain_key(key: str) -> str:
    part = "hydra" if key.startswith("hydra.") else "job"
    hint = did_you_mean(key, _known_keys(), cutoff=0.5)
    return f"the configuration has no key {key!r}{hint}; `--cfg {part}` prints all keys"


def _known_keys() -> list[str]:
    """Names of the groups, and all keys with the options that the command line picks.

    Hydra's own keys are among them.
    """
    directory = configuration_directory()
    groups = sorted(folder.name for folder in directory.iterdir() if folder.is_dir())
    names = [*groups, "hydra/launcher", "hydra/sweeper"]
    picked = [
        word
        for word in sys.argv[1:]
        if word.partition("=")[0] in names and "," not in word
    ]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(directory), version_base="1.3"):
        config = compose("config", overrides=picked, return_hydra_config=True)
    return [*groups, *_dotted_keys(OmegaConf.to_container(config, resolve=False))]


def _dotted_keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{name}.")
