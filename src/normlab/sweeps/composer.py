"""Compose the configuration of a job from its overrides."""

import copy
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab.config.composition import as_hydra_node, to_plain
from normlab.config.hydra_node import (
    check_hydra,
    check_overrides,
    composing,
    config_dirs,
    typed_words,
    words_of_search,
)
from normlab.config.overrides import parse_override
from normlab.config.own_code import find_own_code
from normlab.config.rules import check_composed
from normlab.config.stored_plan import with_plan

# An interpolation that depends on the options of a job alone.
CHOICE = re.compile(r"\$\{hydra:runtime\.choices\.[\w/@]+\}")


class Composition(NamedTuple):
    """What the jobs share that pick the same options of the configuration groups.

    Attributes:
        task: the configuration without Hydra's own part.
        hydra: Hydra's own part, which is checked, below the key `hydra`.
    """

    task: DictConfig
    hydra: DictConfig


class Composer:
    """Turn the overrides of a job into its resolved and checked configuration.

    Composition by Hydra is slow, and so are copies and checks of its own part. Jobs
    that pick the same options of the configuration groups share one composition, and
    only the other overrides are applied to each.

    Args:
        config_loader: Hydra's loader of configurations.
        master: the configuration with which the sweep was started.
    """

    def __init__(self, config_loader: Any, master: DictConfig) -> None:
        self.config_loader = config_loader
        self.master = master
        self.typed = typed_words(master)
        self.compositions: dict[tuple[str, ...], Composition] = {}

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

        shared = self._compose(tuple(options))
        task = copy.deepcopy(shared.task)
        _apply_values(task, values)
        _set_job_name(shared.hydra.hydra, parsed, overrides)
        with as_hydra_node(shared.hydra, task):  # it may be interpolated
            plain = to_plain(task)

        # Not all `overrides`: to those, a file of the sweep may have added some.
        words = [*self.typed, *words_of_search(overrides)]
        check_composed(plain, words, task)
        find_own_code(plain["trusted_packages"], config_dirs(self.master.hydra))
        return with_plan(plain, self.master.hydra)

    def _is_value(self, override: Override) -> bool:
        """Whether Hydra applies the override after all options are picked.

        In case of doubt it does not, which costs time and changes no result.
        """
        key = override.key_or_group
        if override.package is not None or "/" in key:
            return False
        has_sign = override.get_key_element() != key
        if has_sign and "." not in key:  # a group that no defaults list names
            return False
        if key.split(".")[0] == "hydra":
            return False
        if key in self.master.hydra.runtime.choices:
            return False
        return not _is_group(self.config_loader, key)

    def _compose(self, options: tuple[str, ...]) -> Composition:
        """The composition with these options of the configuration groups."""
        if options not in self.compositions:
            with composing(self.typed):
                config = self.config_loader.load_sweep_config(
                    self.master, list(options)
                )
            check_overrides(config, [*self.typed, *options])
            self.compositions[options] = _divide(config, self.typed)
        return self.compositions[options]


def _divide(config: DictConfig, words: Sequence[str]) -> Composition:
    """Check Hydra's own part of a configuration, and take it out.

    The values of a job change nothing in it but what `_set_job_name` sets.
    """
    hydra = OmegaConf.masked_copy(config, "hydra")
    with as_hydra_node(hydra, config):
        check_hydra(config, words)
        _resolve_choices(config)
    with open_dict(config):
        del config["hydra"]
    return Composition(config, hydra)


def _resolve_choices(config: DictConfig) -> None:
    """Replace interpolations of options by these, once for all jobs that have them."""
    choices = config.get("choices")
    if not isinstance(choices, DictConfig):
        return
    for name in choices:
        node = choices._get_node(name)
        if CHOICE.fullmatch(str(node)):
            choices[name] = choices[name]


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
    hydra: DictConfig,
    parsed: list[Override],
    overrides: Sequence[str],
) -> None:
    """Set what Hydra's own part of the configuration says about the overrides of a job.

    `get_overrides_dirname` is a private interface of Hydra (hydra-core 1.3.8).
    """
    hydra.overrides.task = list(overrides)
    options = hydra.job.config.override_dirname
    hydra.job.override_dirname = get_overrides_dirname(parsed, **options)
