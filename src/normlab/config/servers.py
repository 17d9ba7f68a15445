"""Servers and databases to which a run reports: those that the command line names."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from normlab.config.overrides import typed_values
from normlab.config.trust import refuse_untyped


def check_servers(config: dict[str, Any], words: Sequence[str]) -> None:
    """Refuse a server or database to which only a file lets a run report.

    A run would open it with the user's own credentials, and tell it what it knows.

    Args:
        config: the resolved configuration.
        words: the overrides of the command line, and those of a search.

    Raises:
        ValueError: names the key.
    """
    if config.get("trial") is not None:
        refuse_untyped("trial", words)
    for name, options in (config.get("logger") or {}).items():
        server = options.get("tracking_uri")
        if server is not None:
            _check_server(f"logger.{name}.tracking_uri", server, config, words)


def _check_server(
    key: str, server: Any, config: dict[str, Any], words: Sequence[str]
) -> None:
    """Refuse another server than the command line names, such as one of a sweep."""
    refuse_untyped(key, words)
    typed = [_resolved(config, key, value) for value in typed_values(key, words)]
    if server not in typed:
        raise ValueError(
            f"{key} must be {typed[0]}, as the command line says, a file set it to "
            f"{server}: remove it from the file"
        )


def _resolved(config: dict[str, Any], key: str, value: Any) -> Any:
    """A value as it was typed, with its interpolations of the configuration."""
    if "${" not in str(value):
        return value
    tree = OmegaConf.create(config)
    OmegaConf.update(tree, key, value)
    return OmegaConf.select(tree, key)
