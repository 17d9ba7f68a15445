"""Compose configurations from the words of a command: the one way to do it in Python.

The command line of training composes by Hydra's own `main`, from the same words, the
same folders and with the same checks.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab.config.hydra_node import check_hydra, check_overrides, composing
from normlab.config.identity import configuration_directory
from normlab.config.variables import named_variables

TRIAL = "study.try"


def normalized(words: Sequence[str]) -> list[str]:
    """The words of a command as Hydra wants them.

    Hydra wants a plus for groups that no defaults list names. Ours names study,
    experiment and debug, so `+study=NAME` and `study=NAME` mean the same. `study.try`
    is a key that a study need not have: true adds it, and false leaves it out.
    """
    kept = []
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == TRIAL:
            if value != "false":
                kept.append(f"++{TRIAL}={value}")
        else:
            kept.append(re.sub(r"^\+(?=(study|experiment|debug)=)", "", word))
    return kept


def compose_config(
    overrides: Sequence[str],
    config_dir: Path | None = None,
    command: Sequence[str] = (),
) -> DictConfig:
    """The configuration that `train.py OVERRIDES` runs, with Hydra's own node.

    Args:
        overrides: words of the command line.
        config_dir: a folder of the user's own with the layout of conf/, as after
            `--config-dir`.
        command: words that are not composed. Files read the variables they name, too.

    Raises:
        ValueError, HydraException: a mistake of the user.
    """
    words = _words(overrides, config_dir)
    with _initialized(words, command), composing(words):
        return compose("config", overrides=words, return_hydra_config=True)


def checked_config(
    overrides: Sequence[str], config_dir: Path | None = None
) -> tuple[dict[str, Any], DictConfig]:
    """The resolved configuration that `train.py OVERRIDES` runs, and the composed one.

    What no file may ask of Hydra is refused, see `normlab.config.hydra_node`.

    Args:
        overrides: words of the command line.
        config_dir: a folder of the user's own, as for `compose_config`.

    Raises:
        ValueError, HydraException, OmegaConfBaseException: a mistake of the user.
    """
    composed = compose_config(overrides, config_dir)
    words = _words(overrides, config_dir)
    check_overrides(composed, words)
    with named_variables(words), as_hydra_config(composed):
        check_hydra(composed, words)
        return plain_config(composed), composed


@contextmanager
def composed_sweep(
    overrides: Sequence[str], config_dir: Path | None = None
) -> Iterator[tuple[Any, DictConfig]]:
    """Compose and check what `train.py -m OVERRIDES` runs; keep Hydra for its jobs.

    Within the block, Hydra's loader composes jobs, and interpolations find its node.

    Args:
        overrides: words of the command line.
        config_dir: a folder of the user's own, as for `compose_config`.

    Yields:
        Hydra's loader of configurations, and the configuration of the sweep.

    Raises:
        ValueError, HydraException: a mistake of the user.
    """
    words = _words(overrides, config_dir)
    with _initialized(words):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        with composing(words):
            config = hydra.compose_config(
                config_name="config",
                overrides=words,
                run_mode=RunMode.MULTIRUN,
                from_shell=False,
                with_log_configuration=False,
            )
        check_overrides(config, words)
        with as_hydra_config(config):
            check_hydra(config, words)
            yield hydra.config_loader, config


@contextmanager
def _initialized(words: Sequence[str], command: Sequence[str] = ()) -> Iterator[None]:
    """Let Hydra compose from conf/; files read only variables that the words name.

    The defaults list of a file has interpolations, too.
    """
    directory = str(configuration_directory())
    with (
        named_variables([*words, *command]),
        _without_hydra(),
        initialize_config_dir(directory, version_base="1.3"),
    ):
        yield


def _words(overrides: Sequence[str], config_dir: Path | None) -> list[str]:
    words = normalized(overrides)
    if config_dir is not None:
        words.append(_search_path(config_dir))
    return words


def _search_path(config_dir: Path) -> str:
    check_config_dir(config_dir)
    address = f"file://{config_dir.absolute()}"
    quoted = QuotedString(address, Quote.single).with_quotes()
    return f"hydra.searchpath=[{quoted}]"


def typed_config_dir(words: Sequence[str]) -> Path | None:
    """The folder behind `--config-dir` among the words of a command; None without."""
    is_next = False
    for word in words:
        if is_next:
            return Path(word)
        if word.startswith("--config-dir="):
            _, _, folder = word.partition("=")
            return Path(folder)
        is_next = word in ("--config-dir", "-cd")
    return None


def check_config_dir(folder: Path) -> None:
    """Refuse a folder of configurations that is no folder."""
    if not folder.is_dir():
        raise ValueError(
            f"--config-dir must be a folder with the layout of conf/, got {folder}"
        )


@contextmanager
def _without_hydra() -> Iterator[None]:
    """Let Hydra be initialized within the block, even if it is already."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)


def plain_config(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A composed configuration as plain dicts and lists, without Hydra's own node.

    Args:
        config: as Hydra composed it.
        resolve: replace interpolations by what they refer to.
    """
    with as_hydra_config(config):  # `choices` refer to Hydra's node
        task = config.copy()
        with open_dict(task):
            del task["hydra"]
        return to_plain(task, resolve)


@contextmanager
def as_hydra_config(config: DictConfig) -> Iterator[None]:
    """Within the block, interpolations find Hydra's node of a configuration.

    Args:
        config: as Hydra composed it.
    """
    with _restored_hydra_config():
        HydraConfig.instance().set_config(config)
        yield


@contextmanager
def as_hydra_node(hydra: DictConfig, task: DictConfig) -> Iterator[None]:
    """Like `as_hydra_config`, for a node that was taken out of its configuration.

    Nothing is copied, which `HydraConfig.set_config` does.

    Args:
        hydra: the node below the key `hydra`.
        task: the configuration to which interpolations in the node refer.
    """
    with _restored_hydra_config():
        hydra.hydra._set_parent(task)
        HydraConfig.instance().cfg = hydra  # type: ignore[assignment]
        yield


@contextmanager
def _restored_hydra_config() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def to_plain(config: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """A configuration without Hydra's node as plain dicts and lists."""
    plain = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=resolve)
    assert isinstance(plain, dict)
    named = {}
    for key, value in plain.items():
        named[str(key)] = value
    return named
