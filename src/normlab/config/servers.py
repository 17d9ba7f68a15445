"""Servers and databases to which a run reports: those that the command line names."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from normlab.config.overrides import typed_values
from normlab.config.trust import refuse_untyped


def check_servers(
    config: dict[str, Any], words: Sequence[str], composed: DictConfig
) -> None:
    """Refuse a server or database to which only a file lets a run report.

    A run would open it with the user's own credentials, and tell it what it knows.

    Args:
        config: the resolved configuration.
        words: the overrides of the command line, and those of a search.
        composed: the configuration with its interpolations.

    Raises:
        ValueError: names the key.
    """
    if config.get("trial") is not None:
        refuse_untyped("trial", words)
    for name, options in (config.get("logger") or {}).items():
        server = options.get("tracking_uri")
        if server is not None:
            written = _unresolved(composed, ("logger", name, "tracking_uri"))
            _check_server(f"logger.{name}.tracking_uri", server, written, words)


def _check_server(key: str, server: Any, written: Any, words: Sequence[str]) -> None:
    """Refuse another server than the command line names, such as one of a sweep.

    A text that was typed with interpolations is compared unresolved: what it stands
    for, such as the time, is known to the run alone.
    """
    refuse_untyped(key, words)
    typed = typed_values(key, words)
    if server not in typed and written not in typed:
        raise ValueError(
            f"{key} must be {typed[0]}, as the command line says, a file set it to "
            f"{server}: remove it from the file"
        )


def _unresolved(composed: DictConfig, path: Sequence[Any]) -> Any:
    """The value at a path as it is written; of an interpolation above, that."""
    node: Any = OmegaConf.to_container(composed, resolve=False)
    for name in path:
        if not isinstance(node, dict):
            break
        node = node[name]
    return node
