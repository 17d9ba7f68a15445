"""Run folders as one table: a row a run, a column a setting or a result. Nothing here imports torch."""

import csv
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from normlab.config.identity import NOT_PART_OF_THE_RESULT, options_added_later
from normlab.results import SCHEMA

TEXTS = (
    "reason",
    "config_digest",
    "initial_weights",
)  # of result.json; null where unknown
STATUSES = ("finished", "diverged", "failed")
NUMBERS = (
    *(
        "seconds",
        "epochs",
        "best_epoch",
        "steps",
        "samples_per_second",
        "step_milliseconds",
        "outside_share",
    ),
    *(
        "num_parameters",
        "num_norm_parameters",
        "num_norm_layers",
        "step_flops",
        "diverged_at_step",
    ),
)
LARGEST_STABLE_RATE = "log10 largest stable learning rate"  # made of several runs by selection.largest_stable
RESULT_COLUMNS = (
    "run",
    "folder",
    "arm",
    "where",
    "status",
    "reason",
    "config_digest",
    "initial_weights",
    "synchronized",
    "cautions",
    LARGEST_STABLE_RATE,
    *NUMBERS,
)
CHOICES = ("dataset", "model", "norm", "optimizer", "scheduler", "device")
# Settings that name or record a run and do not change what it computes.
UNCOMPARED = (
    *NOT_PART_OF_THE_RESULT,
    "study",
    "experiment",
    "checkpoint",
    "statistics",
)
SURROGATE = re.compile(rb"\\u[dD]|\xed[\xa0-\xbf]")  # escaped, or as bytes
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_runs(*folders: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """All runs below the given folders (or lists of folders), one row each.

    Columns are `run`, `folder`, `status`, `reason`; the picked names `dataset`, `model`, `norm`, ...; every setting
    by its dotted key (`optimizer.lr`); the metrics (`test/accuracy`); `seconds`, `epochs`, `steps`, ...; and where
    the run was made (`environment.git.commit`, `environment.device.name`, `environment.packages.torch`, ...).
    `attrs["unreadable"]` lists `(folder, reason)` of what could not be read: half-written, damaged, closed to the
    reader, of another version, or a copy of a run that is already in the table.

    Raises:
        ValueError: a folder that does not exist, or no readable run in any.
    """
    folders = [
        path
        for given in folders
        for path in ([given] if isinstance(given, str | Path) else given)
    ]
    rows, unreadable, digests = [], [], {}
    for path in find_runs(folders, unreadable):
        try:
            row = _read(path)
        except ValueError as error:
            unreadable.append((str(path), str(error)))
            continue
        first = digests.setdefault(row["config_digest"] or path, path)
        if first != path:
            unreadable.append(
                (str(path), f"the same configuration as {first}, which is kept")
            )
        else:
            rows.append(row)
    if not rows:
        raise ValueError(_nothing_found(folders, unreadable))
    frame = pd.DataFrame(rows)
    frame.attrs["unreadable"] = unreadable
    return frame


def find_runs(
    folders: Iterable[str | Path], closed: list[tuple[str, str]]
) -> Iterator[Path]:
    """Every folder that holds `config.yaml` or `result.json`, at any depth, each once, in order of its name.

    Folders that may not be read go to `closed`, with the reason.
    """
    seen = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise ValueError(
                f"{folder} must be a folder of runs, such as outputs/digits-mlp; it {what}"
            )
        for path, subfolders, files in os.walk(
            folder,
            onerror=lambda error: closed.append(
                (str(error.filename), str(error.strerror))
            ),
        ):
            subfolders.sort()
            if "config.yaml" in files or "result.json" in files:
                subfolders.clear()
                if (real := os.path.realpath(path)) not in seen:
                    seen.add(real)
                    yield Path(path)


def _nothing_found(
    folders: Iterable[str | Path], unreadable: list[tuple[str, str]]
) -> str:
    where = ", ".join(map(str, folders))
    if not unreadable:
        return f"no runs found in {where}: a run folder holds config.yaml and result.json (python train.py makes one)"
    path, reason = unreadable[0]
    return f"no readable run in {where}; {len(unreadable)} could not be read, the first {path}: {reason}"


def _read(folder: Path) -> dict[str, Any]:
    result = _read_json(folder / "result.json", "the run has not ended")
    if result.get("schema") != SCHEMA:
        raise ValueError(
            f"result.json has schema {result.get('schema')!r}, this normlab reads {SCHEMA}; "
            "read it with the version that wrote it, or run it again"
        )
    metrics, status = result.get("metrics"), result.get("status")
    if status not in STATUSES or not isinstance(metrics, dict):
        raise ValueError(
            f"result.json must hold metrics and a status of {', '.join(STATUSES)}, got {status!r}"
        )
    for name in TEXTS:
        if not isinstance(result.get(name), str | None):
            raise ValueError(f"result.json: {name} must be a text, got {result[name]}")
    cautions, synchronized = result.get("cautions") or [], result.get("synchronized")
    if not isinstance(cautions, list) or not all(
        isinstance(text, str) for text in cautions
    ):
        raise ValueError(
            f"result.json: cautions must be a list of texts, got {cautions}"
        )
    if not isinstance(synchronized, bool | None):
        raise ValueError(
            f"result.json: synchronized must be true, false or null, got {synchronized}"
        )
    row = {
        "run": f"{folder.resolve().parent.name}/{folder.name}",
        "folder": str(folder),
        "status": status,
    }
    row |= {name: result.get(name) for name in TEXTS} | {
        "cautions": tuple(cautions),
        "synchronized": synchronized,
    }
    row |= read_settings(folder / "config.yaml")
    row |= {name: _number(result.get(name)) for name in NUMBERS}
    row |= {name: _number(value) for name, value in metrics.items()}
    return row | _environment(folder / "environment.json")


def _number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:  # a whole number of hundreds of digits
        return np.nan


def _read_json(path: Path, if_missing: str) -> dict:
    try:
        content = _json(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"no {path.name}: {if_missing}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not readable ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is not a table of names and values")
    return content


def _json(text: str | bytes) -> Any:
    """What JSON holds, with `?` for lone surrogates (of paths that are not UTF-8): no file is written with those."""
    content = json.loads(text)
    if not SURROGATE.search(text.encode() if isinstance(text, str) else text):
        return content
    return json.loads(json.dumps(content, ensure_ascii=False).encode(errors="replace"))


def read_settings(path: Path) -> dict[str, Any]:
    """A stored configuration by dotted key, the picked names (`choices`) without prefix.

    Raises:
        ValueError: if the file is missing or no YAML table.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not readable ({error})") from error
    settings: dict[str, Any] = {}
    try:
        # The runs of a sweep share most of their text: each distinct top-level block is parsed once.
        for block in re.split(r"(?m)^(?=[^\s#-])", text):
            settings |= _settings_of(block)
    except ValueError:
        settings = _settings_of(text)
    if "norm" not in settings or "seed" not in settings:
        raise ValueError(
            f"{path.name} is not the configuration of a run (no choices.norm or no seed)"
        )
    later = options_added_later(str(settings["norm"])).items()
    return {
        f"{group}.{key}": value
        for group, added in later
        for key, value in added.items()
    } | settings


@lru_cache(maxsize=8192)
def _settings_of(text: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(
            f"config.yaml is not readable ({' '.join(str(error).split())})"
        ) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError("config.yaml is not a table of keys and values")
    choices = tree.pop("choices", None) or {}
    if not isinstance(choices, dict):
        raise ValueError(
            f"config.yaml: choices must be a table of names, got {choices}"
        )
    return flat_settings(tree) | {
        str(name): _scalar(value) for name, value in choices.items()
    }


def _scalar(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def flat_settings(tree: dict, prefix: str = "") -> dict[str, Any]:
    """A configuration by dotted key; lists as JSON."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flat_settings(value, f"{prefix}{name}.")
        elif (
            value is not None or prefix
        ):  # an empty group (`experiment: null`) is not a setting
            flat[f"{prefix}{name}"] = _scalar(value)
    return flat


def _environment(path: Path) -> dict[str, Any]:
    try:
        return _settings_of_environment(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}  # the origin is shown as unknown; the result is still one


@lru_cache(maxsize=256)
def _settings_of_environment(text: str) -> dict[str, Any]:
    content = _json(text)
    if not isinstance(content, dict):
        return {}
    command = content.pop("command", None)
    flat = flat_settings(content, "environment.")
    return flat | (
        {"environment.command": shlex.join(map(str, command))}
        if isinstance(command, list)
        else {}
    )


def setting_columns(runs: pd.DataFrame) -> list[str]:
    """Columns that are settings which a result depends on, the picked names first."""
    columns = [
        name
        for name in runs.columns
        if "/" not in name
        and name not in RESULT_COLUMNS
        and name.partition(".")[0] not in ("environment", *UNCOMPARED)
    ]
    return sorted(
        columns,
        key=lambda name: (
            name not in CHOICES,
            CHOICES.index(name) if name in CHOICES else 0,
        ),
    )


def metric_columns(runs: pd.DataFrame) -> list[str]:
    """Columns that can be compared: the metrics, and the counts that every run has."""
    return [
        name
        for name in runs.columns
        if "/" in name or name in (LARGEST_STABLE_RATE, *NUMBERS)
    ]


def check_key(name: str, known: Iterable[str], what: str) -> str:
    """The name if it is known.

    Raises:
        ValueError: with the near names, or the first twenty; those with a comma of their own in quotes.
    """
    known = list(known)
    if name in known:
        return name
    parts = [
        other
        for other in known
        if name in (other.rpartition(".")[2], other.rpartition("/")[2])
    ]
    parts += [
        other for other in known if other.startswith(f"{name}, ")
    ]  # an arm of several settings
    near = parts[:3] or get_close_matches(name, known, n=3, cutoff=0.5)
    shown = [f"'{other}'" if "," in other else other for other in near or known[:20]]
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    hint = (
        f"did you mean {' or '.join(shown)}?"
        if near
        else f"known are {', '.join(shown)}{more}"
    )
    raise ValueError(f"the runs have no {what} {name!r}; {hint}")


def read_curves(runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """`metrics.csv` of the given runs, with the columns that exist, and the runs' index in `index`.

    Rows of a damaged or missing file are left out: a run without curves still has its result, see `without_curves`.
    """
    wanted = ["epoch", "step", "seconds", *columns]
    parts = []
    for index, folder in runs["folder"].items():
        table = _read_csv(Path(folder) / "metrics.csv")
        length = max(map(len, table.values()), default=0)
        parts.append(
            {"index": [index] * length}
            | {name: table.get(name, [np.nan] * length) for name in wanted}
        )
    names = ("index", *wanted)
    curves = pd.DataFrame(
        {name: [value for part in parts for value in part[name]] for name in names}
    )
    return curves[
        np.isfinite(curves[["epoch", "step", "seconds"]].astype(float)).all(axis=1)
    ]


def without_curves(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str
) -> pd.DataFrame:
    """The runs of which `read_curves` has not every epoch, or no value of the metric.

    A run that diverged needs no value, and within the first epoch no row.
    """
    epochs = (
        curves.groupby("index")["epoch"].nunique().reindex(runs.index, fill_value=0)
    )
    held = curves.loc[np.isfinite(curves[metric].astype(float)), "index"]
    whole = (epochs >= runs["epochs"].fillna(1)) & (
        runs.index.isin(held) | (runs["status"] == "diverged")
    )
    return runs[~whole]


def curve_warnings(runs: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    """A line for every metric whose curve some runs have and others lack."""
    runs, metrics = runs[runs["status"] != "failed"], list(dict.fromkeys(metrics))
    curves = read_curves(runs, metrics) if metrics else pd.DataFrame()
    lacking = {metric: without_curves(runs, curves, metric) for metric in metrics}
    return [
        f"metrics.csv is missing, damaged or cut in {len(some)} of {len(runs)} runs, which learning curves and time to "
        f"target of {metric} leave out; the first is {some['folder'].iloc[0]}. rerun=true trains a run anew."
        for metric, some in lacking.items()
        if 0 < len(some) < len(runs)
    ]


def _read_csv(path: Path) -> dict[str, list[float]]:
    try:
        with open(path, newline="") as file:
            header, *rows = list(csv.reader(file))
        rows = [
            row for row in rows if len(row) == len(header)
        ]  # a last line that was cut
        return {
            name: [_parsed(row[place]) for row in rows]
            for place, name in enumerate(header)
        }
    except (OSError, ValueError, csv.Error):
        return {}


def _parsed(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def read_layers(runs: pd.DataFrame) -> pd.DataFrame:
    """`statistics.csv` of the given runs in one table: index, epoch, step, layer, statistic, value.

    Rows of a damaged or missing file are left out, and values that are not finite.
    """
    parts = []
    for index, folder in runs["folder"].items():
        try:
            path = Path(folder) / "statistics.csv"
            part = pd.read_csv(
                path,
                on_bad_lines="skip",
                low_memory=False,
                dtype={"layer": str, "statistic": str},
            )
        except (OSError, ValueError, pd.errors.EmptyDataError, pd.errors.ParserError):
            continue
        if {"epoch", "layer", "statistic", "value"} <= set(part.columns):
            parts.append(_sound(part).assign(index=index))
    names = ["index", "epoch", "step", "layer", "statistic", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def _sound(table: pd.DataFrame) -> pd.DataFrame:
    """Rows with numbers where numbers belong, and all names."""
    numbers = {
        name: pd.to_numeric(table[name], errors="coerce").astype(float)
        for name in ("epoch", "value")
    }
    table = table.assign(**numbers)
    return table[
        np.isfinite(table[["epoch", "value"]]).all(axis=1)
        & table[["layer", "statistic"]].notna().all(axis=1)
    ]
