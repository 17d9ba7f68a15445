"""Read run folders into one table with one row per run, without importing torch."""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normlab.checksums import check_file, verified
from normlab.compare.columns import CHANGED_ORIGIN, NUMBER_FIELDS, TEXT_FIELDS
from normlab.config.identity import options_added_later
from normlab.files import parse_yaml, read_bytes, read_text
from normlab.programs import program
from normlab.results import SCHEMA, all_metrics

Unreadable = list[tuple[str, str]]  # folder and reason

STATUSES = ("finished", "diverged", "failed")
# Lone surrogates, escaped or as bytes: they come from paths that are not UTF-8.
SURROGATE = re.compile(rb"\\u[dD]|\xed[\xa0-\xbf]")


def load_runs(*folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """All runs below the given folders (or lists of folders), one row each.

    Columns:
        - `run`, `folder`, `status`, `reason`;
        - the picked names: `dataset`, `model`, `norm`, ...;
        - every setting by its dotted key, such as `optimizer.lr`;
        - the metrics, such as `test/accuracy`;
        - `seconds`, `epochs`, `steps`, ...;
        - the origin of the run: `environment.git.commit`, `environment.device.name`,
          `environment.packages.torch`, ...

    `attrs["unreadable"]` lists a pair `(folder, reason)` for every run that is left
    out: half-written, damaged, without permission to read, written by another version,
    made with `debug=`, or a copy of a run that is already in the table.

    Raises:
        ValueError: if a folder does not exist or none holds a readable run.
    """
    paths: list[str | Path] = []
    for given in folders:
        paths += [given] if isinstance(given, str | Path) else given

    rows = []
    unreadable: Unreadable = []
    first_with_digest: dict[str | Path, Path] = {}
    for path in find_runs(paths, unreadable):
        try:
            row = _read_run(path)
        except ValueError as error:
            unreadable.append((str(path), str(error)))
            continue
        if row.get("debug") is not None:
            reason = f"a trial with debug={row['debug']}, which is no result"
            unreadable.append((str(path), reason))
            continue
        first = first_with_digest.setdefault(row["config_digest"] or path, path)
        if first == path:
            rows.append(row)
        else:
            reason = f"the same configuration as {first}, which is kept"
            unreadable.append((str(path), reason))

    if not rows:
        raise ValueError(_nothing_found(paths, unreadable))
    runs = pd.DataFrame(rows)
    runs.attrs["unreadable"] = unreadable
    return runs


def find_runs(folders: Iterable[str | Path], closed: Unreadable) -> Iterator[Path]:
    """Every folder, at any depth, that holds `config.yaml` or `result.json`.

    Each is yielded once, in the order of their names.

    Args:
        folders: where to search.
        closed: receives `(folder, reason)` for folders without permission to read.

    Raises:
        ValueError: if one of `folders` is not a folder.
    """

    def note_closed(error: OSError) -> None:
        closed.append((str(error.filename), str(error.strerror)))

    seen = set()
    for folder in map(Path, folders):
        _check_folder(folder)
        for path, subfolders, files in os.walk(folder, onerror=note_closed):
            subfolders.sort()
            if "config.yaml" not in files and "result.json" not in files:
                continue
            subfolders.clear()  # a run folder holds no other runs
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                yield Path(path)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    problem = "is a file" if folder.exists() else "does not exist"
    raise ValueError(
        f"{folder} must be a folder of runs, such as outputs/digits-mlp; it {problem}"
    )


def _nothing_found(folders: list[str | Path], unreadable: Unreadable) -> str:
    searched = ", ".join(map(str, folders))
    if not unreadable:
        return (
            f"no runs found in {searched}: a run folder holds config.yaml and "
            f"result.json ({program('train')} makes one)"
        )
    path, reason = unreadable[0]
    return (
        f"no readable run in {searched}; {len(unreadable)} could not be read, "
        f"the first {path}: {reason}"
    )


def _read_run(folder: Path) -> dict[str, Any]:
    """The row of one run.

    Raises:
        ValueError: with the reason, if the run has not ended or a file is damaged.
    """
    result = read_stored_result(folder / "result.json")
    _check_result(result)

    row: dict[str, Any] = {
        "run": f"{folder.resolve().parent.name}/{folder.name}",
        "folder": str(folder),
        "status": result["status"],
    }
    for name in TEXT_FIELDS:
        row[name] = result.get(name)
    row["cautions"] = tuple(result.get("cautions") or ())
    row["synchronized"] = result.get("synchronized")

    row |= read_settings(folder / "config.yaml", result)
    for name in NUMBER_FIELDS:
        row[name] = _number(result.get(name))
    for name, value in all_metrics(result).items():
        row[name] = _number(value)
    return row | _environment(folder / "environment.json", result)


def _check_result(result: dict[str, Any]) -> None:
    """Refuse a result that this version of normlab did not write."""
    if result.get("schema") != SCHEMA:
        raise ValueError(
            f"result.json has schema {result.get('schema')!r}, this normlab reads "
            f"{SCHEMA}; read it with the version that wrote it, or run it again"
        )

    status = result.get("status")
    if status not in STATUSES or not isinstance(result.get("metrics"), dict):
        raise ValueError(
            "result.json must hold metrics and a status of "
            f"{', '.join(STATUSES)}, got {status!r}"
        )

    scores = result.get("scores") or {}
    are_tables = isinstance(scores, dict) and _all_tables(scores.values())
    if not are_tables:
        raise ValueError(
            f"result.json: scores must hold a table for each part, got {scores!r}"
        )

    for name in TEXT_FIELDS:
        if not isinstance(result.get(name), str | None):
            raise ValueError(
                f"result.json: {name} must be a string, got {result[name]}"
            )

    cautions = result.get("cautions") or []
    if not isinstance(cautions, list) or not _all_strings(cautions):
        raise ValueError(
            f"result.json: cautions must be a list of strings, got {cautions}"
        )

    synchronized = result.get("synchronized")
    if not isinstance(synchronized, bool | None):
        raise ValueError(
            f"result.json: synchronized must be true, false or null, got {synchronized}"
        )


def _all_tables(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _all_strings(values: list) -> bool:
    return all(isinstance(value, str) for value in values)


def _number(value: Any) -> float:
    """The value as a float; NaN if it is missing or no number."""
    if not isinstance(value, int | float):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # a whole number with hundreds of digits
        return np.nan


def read_stored_result(path: Path) -> dict[str, Any]:
    """The content of `result.json`, without its checksum.

    Args:
        path: the file.

    Raises:
        ValueError: it is missing, damaged or changed.
    """
    try:
        text = read_bytes(path)
        content = json.loads(text)
    except FileNotFoundError:
        raise ValueError(f"no {path.name}: the run has not ended") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not readable ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a table of names and values")
    try:
        result = verified(content, path.name)
    except ValueError as error:
        raise ValueError(f"{error}; the command of the run makes it again") from error
    return _without_surrogates(result, text)


def _without_surrogates(content: Any, text: bytes) -> Any:
    """The content of a JSON document, with `?` in place of lone surrogates.

    Lone surrogates cannot be encoded as UTF-8, so a report with one could not be
    written.

    Args:
        content: what the document holds.
        text: the document.
    """
    if not SURROGATE.search(text):
        return content
    return json.loads(json.dumps(content, ensure_ascii=False).encode(errors="replace"))


def read_settings(path: Path, result: dict[str, Any] | None = None) -> dict[str, Any]:
    """A stored configuration by dotted key, the picked names (`choices`) unprefixed.

    Options that did not exist yet when the run was made get the value that describes
    what the run did.

    Args:
        path: `config.yaml` of the run.
        result: the result beside it, which knows its digest; None if there is none.

    Raises:
        ValueError: if the file is missing, changed, or not the configuration of a run.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is not readable ({error})") from error
    check_file(path, result or {}, text.encode())

    stored: dict[str, Any] = {}
    try:
        # The runs of a sweep share most of their text, and parsing YAML is slow: every
        # distinct top-level block is parsed once, see the cache of `_parse_settings`.
        for block in re.split(r"(?m)^(?=[^\s#-])", text):
            stored |= _parse_settings(block)
    except ValueError:  # such as an alias to an anchor in another block
        stored = _parse_settings(text)
    if "norm" not in stored or "seed" not in stored:
        raise ValueError(
            f"{path.name} is not the configuration of a run "
            "(no choices.norm or no seed)"
        )

    return settings_added_later(stored) | stored


def settings_added_later(picked: Mapping[Any, Any]) -> dict[str, Any]:
    """Settings that runs of earlier versions lack, by dotted key.

    Each has the value that describes what those runs did.

    Args:
        picked: with the names of the norm, the data set and the model.
    """
    names = [str(picked.get(group)) for group in ("norm", "dataset", "model")]
    settings = {}
    for group, options in options_added_later(*names).items():
        for key, value in options.items():
            settings[f"{group}.{key}"] = value
    return settings


@lru_cache(maxsize=8192)
def _parse_settings(text: str) -> dict[str, Any]:
    """Settings by dotted key. The dictionary is cached: do not change it."""
    try:
        tree = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"config.yaml is not readable ({error})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError("config.yaml is not a table of keys and values")

    choices = tree.pop("choices", None) or {}
    if not isinstance(choices, dict):
        raise ValueError(
            f"config.yaml: choices must be a table of names, got {choices}"
        )
    settings = flat_settings(tree)
    for name, value in choices.items():
        settings[str(name)] = _scalar(value)
    return settings


def flat_settings(tree: dict, prefix: str = "") -> dict[str, Any]:
    """A configuration by dotted key, with lists as JSON.

    Args:
        tree: nested dictionaries.
        prefix: what the keys begin with.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flat_settings(value, f"{prefix}{name}.")
        elif value is not None or prefix:
            flat[f"{prefix}{name}"] = _scalar(value)
        # An empty group at the top (`experiment: null`) is not a setting.
    return flat


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value


def _environment(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The origin of a run by dotted key; empty if it is not known.

    If the file was changed after the run ended, a column says so in place of the
    origin.
    """
    try:
        check_file(path, result)
    except ValueError:
        return {CHANGED_ORIGIN: True}
    try:
        return _parse_environment(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}  # a run of unknown origin still has its result


@lru_cache(maxsize=256)
def _parse_environment(text: str) -> dict[str, Any]:
    content = _without_surrogates(json.loads(text), text.encode())
    if not isinstance(content, dict):
        return {}
    command = content.pop("command", None)
    flat = flat_settings(content, "environment.")
    if isinstance(command, list):
        flat["environment.command"] = shlex.join(map(str, command))
    return flat
