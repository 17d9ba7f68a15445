"""What a file may ask of Hydra itself: the node `hydra` of a configuration.

Hydra configures logging, makes folders, sets environment variables and builds launcher
and sweeper, all before code of ours has seen the configuration of a run.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab.config.launcher_options import check_launcher
from normlab.config.overrides import typed_tree
from normlab.config.trust import (
    placed_targets,
    refuse_interpolations,
    refuse_untyped,
)

# Of Hydra's own options for Python's logging, those that write no files.
HARMLESS_LOGGING = ("none", "disabled", "stdout")
# Keys that must be empty: what Hydra would call, set or write.
EMPTY = ("callbacks", "job.env_set", "output_subdir")
# Where Hydra works and which folders it makes, as conf/ has it.
FOLDERS = {"run.dir": ".", "sweep.dir": ".", "sweep.subdir": ".", "job.chdir": False}
# The classes of the options of hydra/launcher and hydra/sweeper. Hydra's own sweeper is
# not among them: nothing would check the jobs that it composes before Hydra runs them.
PLUGINS = {
    "launcher": (
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra_plugins.normlab_queue_launcher.QueueLauncher",
        "hydra_plugins.normlab_ray_launcher.RayLauncher",
        "hydra_plugins.normlab_stacked_launcher.StackedLauncher",
        "hydra_plugins.normlab_submitit_launcher.SlurmLauncher",
        "hydra_plugins.normlab_submitit_launcher.SubmititLauncher",
    ),
    "sweeper": (
        "hydra_plugins.normlab_grid_sweeper.GridSweeper",
        "hydra_plugins.normlab_optuna_sweeper.OptunaSweeper",
    ),
}
# Where a sweeper has targets of its own, and what they may be.
OPTUNA_PLACE = re.compile(r"hydra\.sweeper\.(sampler|pruner)\b")
OPTUNA_CLASS = re.compile(r"optuna\.(samplers|pruners)\.[A-Z]\w*")
# The override by which a search tells a run to which trial it reports, and keys that
# would look like it.
SEARCH_WORD = "trial="
SEARCH_KEY = re.compile(r"\s*[+~]*\s*trial\b")
# What Hydra calls the folders of `--config-dir`, and those of `hydra.searchpath`, by
# which calls from Python hand theirs on.
TYPED_FOLDERS = ("command-line", "hydra.searchpath in command-line")


def config_dirs(hydra: Any) -> list[Path]:
    """The folders of configurations that the command line or a call names.

    Args:
        hydra: Hydra's own node of a configuration.
    """
    folders = []
    for source in hydra.runtime.config_sources:
        if source.provider in TYPED_FOLDERS and source.schema == "file":
            folders.append(Path(source.path))
    return folders


def launcher_dirs(hydra: Any) -> list[Path]:
    """Like `config_dirs`, with the packages of `hydra.searchpath=[pkg://NAME]`.

    Args:
        hydra: Hydra's own node of a configuration.
    """
    folders = []
    for source in hydra.runtime.config_sources:
        if source.provider not in TYPED_FOLDERS:
            continue
        if source.schema == "file":
            folders.append(Path(source.path))
        elif source.schema == "pkg":
            folders += _package_folders(source.path)
    return folders


def _package_folders(name: str) -> list[Path]:
    """The folders of an installed package; none if there is no such package."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return []
    if spec is None:
        return []
    return [Path(place) for place in spec.submodule_search_locations or ()]


@contextmanager
def composing(words: Sequence[str]) -> Iterator[None]:
    """Refuse in the words of a mistake a variable for Hydra that is not set.

    Hydra copies the variables that `hydra.job.env_copy` names while it composes, and
    `check_hydra` refuses what it has copied.

    Args:
        words: the overrides of the command line.

    Raises:
        ValueError: names the variable.
    """
    try:
        yield
    except KeyError as error:
        if isinstance(error, OmegaConfBaseException):
            raise
        typed = typed_tree("hydra.job", words)
        names = typed.get("env_copy")
        is_typed = isinstance(names, list) and error.args[0] in names
        who = "the command line" if is_typed else "a file"
        raise ValueError(
            f"hydra.job.env_copy must be empty, {who} names {error} there"
        ) from error


def typed_words(config: DictConfig) -> list[str]:
    """The overrides of the command line, as Hydra has recorded them.

    Args:
        config: a composed configuration, which `check_overrides` has accepted.
    """
    record = _unresolved(config)["overrides"]
    return [*record["task"], *record["hydra"]]


def words_of_search(overrides: Sequence[str]) -> list[str]:
    """The overrides of a job that a search has added: the trial of its run.

    Args:
        overrides: of a job of a sweep that `check_hydra` has accepted.
    """
    return [word for word in overrides if word.startswith(SEARCH_WORD)]


def check_overrides(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse a record of the command line that a file has written.

    Hydra appends the words of a command to `hydra.overrides` and keeps what is there,
    so that a file could pretend that somebody had typed its words.

    Args:
        config: a composed configuration with its node `hydra`.
        words: the overrides from which Hydra has composed it.

    Raises:
        ValueError: names a word that nobody has typed.
    """
    record = _unresolved(config)["overrides"]
    for kind in ("task", "hydra"):
        recorded = record[kind] if isinstance(record, dict) else record
        if not isinstance(recorded, list):
            recorded = [recorded]
        for word in recorded:
            if word not in words:
                raise ValueError(
                    f"hydra.overrides.{kind} must be left to Hydra, a file added "
                    f"{word!r}: remove it from the file"
                )


def check_hydra(config: DictConfig, words: Sequence[str]) -> None:
    """Refuse what Hydra itself would call, set or write because a file says so.

    These are callbacks, handlers of logging, environment variables, folders, servers,
    and the targets of launcher and sweeper. Most values are compared unresolved: what
    is no interpolation cannot be something else when Hydra acts on it.

    Args:
        config: a composed configuration with its node `hydra`. `HydraConfig` must hold
            it, since interpolations of launcher and sweeper may refer to that.
        words: the overrides of the command line.

    Raises:
        ValueError: names what was refused.
    """
    hydra = _unresolved(config)
    for group in ("job_logging", "hydra_logging"):
        if hydra[group] not in _harmless_logging(group):
            raise ValueError(
                f"hydra/{group} must be one of {', '.join(HARMLESS_LOGGING)}, as Hydra "
                f"has them: other handlers can write any file"
            )
    for key in EMPTY:
        value = _value(hydra, key)
        if value:
            raise ValueError(f"hydra.{key} must be empty, got {_shown(value)}")
    for key, shipped in FOLDERS.items():
        if _value(hydra, key) != shipped:
            refuse_untyped(f"hydra.{key}", words)
    launcher = _checked_plugin(config, "launcher")
    check_launcher(launcher, words, launcher_dirs(config.hydra))
    sweeper = _checked_plugin(config, "sweeper")
    if _value(launcher, "init.address") is not None:
        refuse_untyped("hydra.launcher.init.address", words)
    if "://" in str(_value(sweeper, "storage")):
        refuse_untyped("hydra.sweeper.storage", words)
    _check_axes(sweeper)


def _unresolved(config: DictConfig) -> dict[str, Any]:
    """Hydra's node as it is written, with its interpolations."""
    if OmegaConf.is_interpolation(config, "hydra"):
        raise ValueError("hydra must hold keys and values, got an interpolation")
    node = OmegaConf.to_container(config.hydra, resolve=False)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def _value(node: Any, key: str) -> Any:
    """The value of a dotted key; of an interpolation above it, the interpolation."""
    for name in key.split("."):
        if not isinstance(node, dict):
            return node
        node = node.get(name)
    return node


def _shown(value: Any) -> str:
    """A value for a message; of keys and values, which may be secret, the keys."""
    if isinstance(value, dict):
        return ", ".join(map(str, value))
    return str(value)


@cache
def _harmless_logging(group: str) -> list[Any]:
    """The contents of Hydra's own files for a group of logging."""
    package = resources.files("hydra.conf.hydra")
    contents = []
    for name in HARMLESS_LOGGING:
        file = package / group / f"{name}.yaml"
        if file.is_file():
            content = yaml.safe_load(file.read_text())
            contents.append(content)
    return contents


def _checked_plugin(config: DictConfig, name: str) -> Any:
    """The resolved launcher or sweeper, whose targets may be called."""
    top = f"hydra.{name}"
    plugin = OmegaConf.to_container(config.hydra[name], resolve=True)
    refuse_interpolations(plugin, top)
    for place, node in placed_targets(plugin, top):
        target = str(node["_target_"])
        if place == top:
            is_allowed = target in PLUGINS[name]
            requirement = f"the class of an option of conf/hydra/{name}"
        elif OPTUNA_PLACE.match(place):
            is_allowed = OPTUNA_CLASS.fullmatch(target) is not None
            requirement = "a class of optuna.samplers or optuna.pruners"
        else:
            is_allowed = False
            requirement = "left out: nothing is called there"
        if not is_allowed:
            raise ValueError(f"{place}._target_ must be {requirement}, got {target!r}")
    return plugin


def _check_axes(sweeper: Any) -> None:
    """Refuse a sweep whose file sets the trial to which a search lets a run report."""
    for option in ("params", "try_settings"):
        for key in _value(sweeper, option) or ():
            if SEARCH_KEY.match(str(key)):
                raise ValueError(
                    f"hydra.sweeper.{option} must not set {key}, which a search sets "
                    f"itself"
                )
