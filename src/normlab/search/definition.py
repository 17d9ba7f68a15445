"""The definition of a search: everything that the values of its trials depend on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from normlab.config.identity import NOT_PART_OF_THE_RESULT, options_added_later
from normlab.search.space import Space, describe

MOST_DIFFERENCES = 3
MISSING = "nothing"
CACHE = "dataset.load.cache"  # below `paths.outputs`, wherever that is


def define(
    space: Space,
    metric: str,
    direction: str,
    seeds: list[int],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The definition of a search, as plain data that can be stored.

    Args:
        space: what varies between trials.
        metric: the metric of the objective.
        direction: `maximize` or `minimize`.
        seeds: the seeds over which the metric is averaged.
        config: the resolved configuration at one point of the space. It must be the
            same point for searches that are compared.
    """
    settings = {}
    for key, value in config.items():
        if key != "seed" and key not in NOT_PART_OF_THE_RESULT:
            settings[key] = value
    return {
        "metric": metric,
        "direction": direction,
        "seeds": seeds,
        "space": {key: describe(space[key]) for key in space},
        "settings": _flatten(settings),
    }


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Describe in which points two definitions differ.

    The fixed settings depend on the point of the space at which they were taken. They
    are compared only if nothing else differs. Options that were added later count as
    stored with the value that describes earlier runs.

    Args:
        stored: the definition with which the search was started.
        current: the definition of now.

    Returns:
        one text per difference: `seeds=[0, 1] then, [0] now`.
    """
    found = []
    for key in ("metric", "direction", "seeds"):
        then = stored[key]
        now = current[key]
        if then != now:
            found.append(f"{key}={then} then, {now} now")
    known = {"space": {}, "settings": _added_later(current["settings"])}
    for part, added in known.items():
        for key in {**stored[part], **current[part]}:
            unchanged = added.get(key, MISSING)
            then = stored[part].get(key, unchanged)
            now = current[part].get(key, unchanged)
            if then != now and not (key == CACHE and _are_own_caches(then, now)):
                found.append(f"{key}={then} then, {now} now")
        if found:
            break
    return found


def _added_later(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options that earlier versions did not store, by dotted key."""
    groups = ("norm", "dataset", "model")
    names = [str(settings.get(f"choices.{group}")) for group in groups]
    return _flatten(options_added_later(*names))


def _are_own_caches(*paths: Any) -> bool:
    return all(str(path).endswith("/.cache") for path in paths)


def check_definition(
    stored: Mapping[str, Any] | None,
    current: Mapping[str, Any],
    folder: Path,
) -> None:
    """Refuse to resume a search whose values could not be compared with new ones.

    Args:
        stored: the definition with which the search was started; None if this program
            did not start it.
        current: the definition of now.
        folder: the folder of the search.

    Raises:
        ValueError: shows what differs.
    """
    if stored is None:
        found = ["another program started it"]
    else:
        found = differences(stored, current)
    if not found:
        return
    shown = "; ".join(found[:MOST_DIFFERENCES])
    if len(found) > MOST_DIFFERENCES:
        shown += f" and {len(found) - MOST_DIFFERENCES} more"
    raise ValueError(
        f"the search in {folder} was started with other settings: {shown}. "
        f"Name this one with hydra.sweeper.study_name, or delete that folder"
    )
