"""The whole plan of a study, which every run of the study stores when it starts.

The block `study:` is a part of the configuration. Grid and settings are not, or not as
they were planned: the grid belongs to the sweep, and a run knows its own settings only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from normlab.config.claim_rules import rule_of
from normlab.config.hydra_node import config_dirs
from normlab.config.identity import (
    DAMAGED,
    NOT_PART_OF_THE_RESULT,
    configuration_directory,
)
from normlab.config.study_plan import check_grid
from normlab.files import parse_yaml, read_text, read_yaml

# What changes no number that the study answers with.
NOT_PLANNED = ("try", "control")
# Keys of `hydra.sweeper` that say which runs there are.
GRID = ("params", "zip", "exclude")


def study_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The files of all studies by name; as in training, conf/ itself comes first.

    Args:
        folders: folders of the user's own with the layout of conf/.
    """
    files = {}
    places = [configuration_directory(), *folders]
    for folder in reversed(places):
        for path in folder.glob("study/*.yaml"):
            files[path.stem] = path
    return files


def whole_plan(
    content: Mapping[str, Any], study: Mapping[str, Any], sweeper: Mapping[str, Any]
) -> dict[str, Any]:
    """Arms, grid, seeds, settings, metric, margin, looks and rules of a study.

    Args:
        content: of the file of the study.
        study: the block `study:`, as it is used.
        sweeper: `hydra.sweeper`, as it is used.

    Returns:
        `file`, with the keys of the file that change a result or how it is read, and
        `rules`, the words of the rules that its claims are judged by.
    """
    skipped = (*NOT_PART_OF_THE_RESULT, "hydra", "study")
    kept = {}
    for key, value in content.items():
        if key not in skipped:
            kept[key] = value

    block = {}
    for key, value in study.items():
        if key not in NOT_PLANNED:
            block[key] = value
    grid = {}
    for key in GRID:
        if sweeper.get(key):
            grid[key] = sweeper[key]
    kept["study"] = block
    kept["hydra"] = {"sweeper": grid}
    rules = {}
    for claim in study["claims"]:
        name, words = rule_of(study | claim)
        rules[name] = words
    return {
        "file": kept,
        "rules": rules,
    }


def plan_text(plan: Mapping[str, Any]) -> str:
    """A plan with its digest, as a run stores it: one line of JSON."""
    digest = hashlib.sha256(_json(plan).encode())
    signed = {"digest": digest.hexdigest()[:16], **plan}
    return _json(signed)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(
        content,
        sort_keys=True,
        default=str,
    )


def with_plan(config: dict[str, Any], hydra: Any) -> dict[str, Any]:
    """The configuration of a run with the whole plan of its study, if it has one.

    Args:
        config: the resolved and checked configuration.
        hydra: Hydra's own node of it.

    Raises:
        ValueError: the grid of the study varies what runs cannot be told apart by.
    """
    name = config["choices"].get("study")
    study = config.get("study")
    if name is None or not study:
        return config | {"plan": None}
    sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=True)
    check_grid(f"study={name}", sweeper.get("params") or {})
    if study.get("try"):
        return config | {"plan": None}
    content: Mapping[str, Any] = {}
    folders = config_dirs(hydra)
    path = study_files(folders).get(str(name))
    if path is not None:
        changed = path.stat().st_mtime_ns
        content = _content(path, changed)
    plan = whole_plan(content, study, sweeper)
    return config | {"plan": plan_text(plan)}


def started_plan(folder: Path) -> str | None:
    """The plan that a run was started with; None if it is new or has none.

    Args:
        folder: the run folder.
    """
    try:
        plan = read_yaml(folder / "config.yaml").get("plan")
    except (OSError, *DAMAGED):
        return None
    return plan if isinstance(plan, str) else None


@lru_cache(maxsize=8)
def _content(path: Path, changed: int) -> dict[str, Any]:
    """The content of a file of a study, read again only if the file has changed."""
    content = parse_yaml(read_text(path))
    return content if isinstance(content, dict) else {}
