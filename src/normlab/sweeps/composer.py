"""Compose the configuration of a job from its overrides."""

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab.config.rules import check
from normlab.config.trust import check_hydra, check_trust
from normlab.sweeps.grid import parse_override


class Composer:
    """Overrides to the resolved and checked configuration of a job.

    Jobs that pick the same options share one composition by Hydra, the slow part: only the values differ.

    Args:
        config_loader: Hydra's.
        master: the configuration that the sweep was started with.
    """

    def __init__(self, config_loader: Any, master: DictConfig) -> None:
        self.config_loader, self.master = config_loader, master
        self.bases: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> dict:
        """Raises ValueError or HydraException for the user's mistake."""
        parsed = [parse_override(word) for word in overrides]
        values = [override for override in parsed if self._is_value(override)]
        base = self._base(
            tuple(override.input_line for override in parsed if override not in values)
        )
        config = copy.deepcopy(base)
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        config.hydra.overrides.task = list(overrides)
        names = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(parsed, **names)
        plain = _resolved(config)
        check(plain)
        check_trust(
            plain, self.master.hydra.overrides.task
        )  # as typed: a file may add overrides too
        return plain

    def _is_value(self, override: Override) -> bool:
        """Whether Hydra would apply it after all options are picked; where in doubt, not."""
        key = override.get_key_element()
        if key[0] in "+~" or "/" in key or "@" in key or key.split(".")[0] == "hydra":
            return False
        return not (
            key in self.master.hydra.runtime.choices
            or self.config_loader.repository.group_exists(key)
        )

    def _base(self, picks: tuple[str, ...]) -> DictConfig:
        if picks not in self.bases:
            self.bases[picks] = self.config_loader.load_sweep_config(
                self.master, list(picks)
            )
        return self.bases[picks]


def composed(config_loader: Any, master: DictConfig, overrides: Sequence[str]) -> dict:
    """One job's resolved and checked configuration, see `Composer`, which is faster for many."""
    return Composer(config_loader, master)(overrides)


def _resolved(config: DictConfig) -> dict:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)  # `choices` interpolates what was picked
    try:
        check_hydra(OmegaConf.to_container(config.hydra, resolve=False))
        with open_dict(config):
            del config["hydra"]
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    finally:
        HydraConfig.instance().cfg = before
