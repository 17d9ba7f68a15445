"""Check what Hydra itself would call, and let it compose a single run only once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from normlab.config.hydra_node import check_hydra, check_overrides, composing
from normlab.config.rules import check_hydra_options

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

    For `--hydra-help`, which has no main configuration and acts on nothing that it
    shows, there is nothing to check.
    """
    compose = Hydra.compose_config
    of_mode: dict[str, Any] = {}  # the first composition, and its overrides

    def compose_and_check(
        hydra: Hydra, *, config_name: str | None, overrides: list[str], **options: Any
    ) -> DictConfig:
        configures_logging = options.pop("with_log_configuration", False)
        options |= {"config_name": config_name, "overrides": overrides}
        if config_name is None:
            return compose(hydra, **options)  # by default, this configures no logging
        asks_for_mode = not options.get("validate_sweep_overrides", True)
        config = None
        if asks_for_mode:
            config = _with_all_options(compose, hydra, options)
            of_mode.update(config=config, overrides=list(overrides))
        elif of_mode.get("config") is not None:
            config = as_single_run(of_mode["config"], of_mode["overrides"], overrides)
        if config is None:
            with composing(overrides):
                config = compose(hydra, **options)
        check_overrides(config, overrides)
        HydraConfig.instance().set_config(config)
        check_hydra(config, overrides)
        check_hydra_options(config.hydra)
        if configures_logging:
            configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        return config

    setattr(Hydra, "compose_config", compose_and_check)  # noqa: B010
    try:
        yield
    finally:
        setattr(Hydra, "compose_config", compose)  # noqa: B010


def _with_all_options(
    compose: Callable, hydra: Hydra, options: dict[str, Any]
) -> DictConfig | None:
    """What Hydra composes for any mode; None if an option is missing, or in an error.

    For a sweep, Hydra leaves out options that are missing, since the sweep may name
    them. Where it composes a single run, none is.
    """
    try:
        return compose(hydra, **options | {"run_mode": RunMode.RUN})
    except Exception:
        return None


def as_single_run(
    config: DictConfig, words: Sequence[str], overrides: Sequence[str]
) -> DictConfig | None:
    """What Hydra would compose for a single run.

    Args:
        config: what Hydra composed when it did not know the mode. It is changed.
        words: the overrides then, those of the command line.
        overrides: the overrides now.

    Returns:
        The configuration; or None if Hydra has to compose it, since the overrides are
        others than for a single run, or one of them may sweep, which Hydra refuses.
    """
    is_single_run = list(overrides) == [*words, MODE_OF_SINGLE_RUN]
    sweeps = any("," in word or "(" in word for word in words)
    if sweeps or not is_single_run:
        return None
    OmegaConf.set_readonly(config.hydra, False)  # `HydraConfig.set_config` set it
    config.hydra.mode = RunMode.RUN
    config.hydra.overrides.hydra.append(MODE_OF_SINGLE_RUN)
    return config
