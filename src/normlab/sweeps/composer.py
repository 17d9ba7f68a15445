"""Compose the configuration of a job from its overrides."""

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from normlab.config.composition import as_hydra_config, config_dirs, to_plain
from normlab.config.hydra_node import (
    check_hydra,
    check_overrides,
    typed_words,
    words_of_search,
)
from normlab.config.own_code import find_own_code
from normlab.config.rules import check_composed
from normlab.config.stored_plan import with_plan
from normlab.sweeps.grid import parse_override


class Composer:
    """Turn the overrides of a job into its resolved and checked configuration.

    Composition by Hydra is slow. Jobs that pick the same options of the configuration
    groups share one composition, and only the other overrides are applied to each.

    Args:
        config_loader: Hydra's loader of configurations.
        master: the configuration with which the sweep was started.
    """

    def __init__(self, config_loader: Any, master: DictConfig) -> None:
        self.config_loader = config_loader
        self.master = master
        self.typed = typed_words(master)
        self.compositions: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Compose the configuration of one job.

        Args:
            overrides: `key=value` strings.

        Raises:
            ValueError, HydraException: a mistake of the user.
        """
        parsed = []
        values = []
        options = []
        for word in overrides:
            override = parse_override(word)
            parsed.append(override)
            if self._is_value(override):
                values.append(override)
            else:
                options.append(word)

        config = copy.deepcopy(self._compose(tuple(options)))
        _apply_values(config, values)
        _set_job_name(config, parsed, overrides)
        plain = _resolve(config, self.typed)

        # Not all `overrides`: to those, a file of the sweep may have added some.
        check_composed(plain, [*self.typed, *words_of_search(overrides)])
        find_own_code(plain["trusted_packages"], config_dirs(self.master.hydra))
        return with_plan(plain, self.master.hydra)

    def _is_value(self, override: Override) -> bool:
        """Whether Hydra applies the override after all options are picked.

        In case of doubt it does not, which costs time and changes no result.
        """
        key = override.get_key_element()
        if key[0] in "+~" or "/" in key or "@" in key:
            return False
        if key.split(".")[0] == "hydra":
            return False
        if key in self.master.hydra.runtime.choices:
            return False
        return not _is_group(self.config_loader, key)

    def _compose(self, options: tuple[str, ...]) -> DictConfig:
        """The composition with these options of the configuration groups."""
        if options not in self.compositions:
            composition = self.config_loader.load_sweep_config(
                self.master, list(options)
            )
            check_overrides(composition, [*self.typed, *options])
            self.compositions[options] = composition
        return self.compositions[options]


def _is_group(config_loader: Any, key: str) -> bool:
    """Whether a configuration group has this name.

    `repository` is a private interface of Hydra (hydra-core 1.3.8).
    """
    return config_loader.repository.group_exists(key)


def _apply_values(config: DictConfig, values: list[Override]) -> None:
    """Apply overrides to a composed configuration, as Hydra does.

    This is a private interface of Hydra (hydra-core 1.3.8).
    """
    ConfigLoaderImpl._apply_overrides_to_config(values, config)


def _set_job_name(
    config: DictConfig, parsed: list[Override], overrides: Sequence[str]
) -> None:
    """Set what Hydra's own part of the configuration says about the overrides of a job.

    `get_overrides_dirname` is a private interface of Hydra (hydra-core 1.3.8).
    """
    config.hydra.overrides.task = list(overrides)
    options = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(parsed, **options)


def _resolve(config: DictConfig, words: Sequence[str]) -> dict[str, Any]:
    """The configuration as plain data, without Hydra's own part, which is checked.

    `choices` interpolates Hydra's part, which is therefore set during the resolution.
    """
    with as_hydra_config(config):
        check_hydra(config, words)
        with open_dict(config):
            del config["hydra"]
        return to_plain(config)
