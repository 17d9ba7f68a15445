"""Check what Hydra itself would call, and let it compose a single run only once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from normlab.config.rules import check_hydra_options
from normlab.config.trust import check_hydra

MODE_OF_SINGLE_RUN = "hydra.mode=RUN"  # Hydra adds it to the overrides of a single run


@contextmanager
def hydra_checked() -> Iterator[None]:
    """Check the configuration before Hydra acts on it.

    Hydra configures logging and builds what `hydra.callbacks` names before any of our
    code has seen the configuration. The only place before that is
    `Hydra.compose_config`, a private interface (hydra-core 1.3.8).

    Hydra calls it twice for a single run: to find out whether it is one, and then to
    run it. The second composition is made from the first where they cannot differ,
    which saves 5 % of the time to a first step.
    """
    compose = Hydra.compose_config
    composed: dict[str, Any] = {"overrides": None, "config": None}

    def compose_and_check(
        hydra: Hydra, *, overrides: list[str], **options: Any
    ) -> DictConfig:
        configures_logging = options.pop("with_log_configuration", False)
        config = None
        follows = overrides[:-1] == composed["overrides"]
        if follows and options["run_mode"] == RunMode.RUN:
            config = as_single_run(composed["config"], overrides)
        if config is None:  # by default, this configures no logging
            config = compose(hydra, overrides=overrides, **options)
            composed.update(overrides=list(overrides), config=config)
        HydraConfig.instance().set_config(config)
        check_hydra(config)
        check_hydra_options(config.hydra)
        if configures_logging:
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        return config

    setattr(Hydra, "compose_config", compose_and_check)  # noqa: B010
    try:
        yield
    finally:
        setattr(Hydra, "compose_config", compose)  # noqa: B010


def as_single_run(config: DictConfig, overrides: Sequence[str]) -> DictConfig | None:
    """What Hydra would compose for a single run.

    Args:
        config: what Hydra composed from all overrides but the last, when it did not
            know the mode. It is changed.
        overrides: words of the command line, and Hydra's own that asks for a run.

    Returns:
        The configuration; or None if Hydra has to compose it, since it refuses an
        override that sweeps and an option that is missing.
    """
    sweeps = any("," in word or "(" in word for word in overrides)
    lacks_option = OmegaConf.missing_keys(config.hydra.runtime.choices)
    if overrides[-1] != MODE_OF_SINGLE_RUN or sweeps or lacks_option:
        return None
    OmegaConf.set_readonly(config.hydra, False)  # `HydraConfig.set_config` set it
    config.hydra.mode = RunMode.RUN
    config.hydra.overrides.hydra.append(MODE_OF_SINGLE_RUN)
    return config
