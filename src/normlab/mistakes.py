"""The user's mistakes, each explained in a line or two."""

import re
import sys

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normlab.config.identity import configuration_directory
from normlab.spelling import did_you_mean

MISTAKES = (HydraException, OmegaConfBaseException, YAMLError, ValueError)


def reason(error: Exception) -> str:
    """Why a job failed, in a line or two: the user's mistakes explained, all others with their class."""
    return explain(error) if isinstance(error, MISTAKES) else _with_class(error)


def _with_class(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def explain(error: Exception) -> str:
    """One or two lines for the user, with the near name where a name was misspelt."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause, target = error.__cause__, re.search(r"'([\w.]+)'", str(error))
        what = str(cause) if isinstance(cause, MISTAKES) else _with_class(cause)
        return f"{target.group(1)}: {what}" if target else what
    message = str(error)
    if option := re.search(r"Could not find '([^']+)'", message):
        return _explain_option(
            option.group(1), re.findall(r"^\t(\S+)$", message, re.MULTILINE)
        )
    if key := re.search(
        r"Could not (?:override|append to|delete from config[^']*) '?([\w./@-]+)'?",
        message,
    ):
        return _explain_key(key.group(1))
    return "\n".join(line.strip() for line in message.splitlines()[:2] if line.strip())


def _explain_option(path: str, options: list[str]) -> str:
    group, _, option = path.rpartition("/")
    return f"{group}={option} does not exist{did_you_mean(option, options, cutoff=0.5)}; {group} is one of {', '.join(options)}"


def _explain_key(key: str) -> str:
    part = "hydra" if key.startswith("hydra.") else "job"
    return f"the configuration has no key {key!r}{did_you_mean(key, _known_keys(), cutoff=0.5)}; `--cfg {part}` prints all keys"


def _known_keys() -> list[str]:
    """Keys of the configuration, Hydra's too, with the groups that the command line picked, and the groups' names."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

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
    return groups + _flat_keys(OmegaConf.to_container(config, resolve=False))


def _flat_keys(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in tree.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _flat_keys(value, f"{prefix}{name}.")
    return keys
