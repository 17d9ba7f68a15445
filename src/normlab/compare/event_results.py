"""Results in TensorBoard's event files: one run per folder, one value per tag.

Settings of a run come from what its files record as hyperparameters, from a
`hparams.yaml` beside them, and from the names of its folders.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from normlab.compare.columns import check_key
from normlab.compare.result_tables import LeftOut, Results, check_size, table_of_rows
from normlab.compare.result_values import (
    Choice,
    Point,
    shortest_decimal,
    uneven_ends,
)
from normlab.compare.runs import flat_settings
from normlab.files import MEGABYTE, open_regular, read_yaml
from normlab.messages import first_line

EVENT_FILE = re.compile(r"(^|\.)out\.tfevents\.|^events\.out\.tfevents")
LARGEST_EVENTS = 4096 * MEGABYTE  # images make such files large; only scalars are kept
MOST_POINTS = 10_000_000  # of all files together
HPARAMS_FILE = "hparams.yaml"  # which Lightning writes
HPARAMS_TAG = "_hparams_/session_start_info"
# Folders in which Keras and others keep the parts of one run.
PARTS = ("train", "validation", "val", "test", "eval")
FIELD = re.compile(r"\{([^{}/]+)\}")
PAIR = re.compile(r"([A-Za-z][\w.]*)=([^,=/]+)")
Points = dict[str, list[Point]]  # by tag


@dataclass
class EventRun:
    """What the event files of one run hold.

    Attributes:
        points: the scalars by tag.
        settings: recorded hyperparameters, and what the folder says.
    """

    points: Points = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def has_events(folder: Path) -> bool:
    """Whether a folder holds event files, at any depth."""
    return next(_event_folders(folder), None) is not None


def _event_folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with event files, and the files in the order of their names."""
    for path, subfolders, files in os.walk(folder):
        subfolders.sort()
        found = []
        for name in sorted(files):
            if EVENT_FILE.search(name):
                found.append(Path(path, name))
        if found:
            yield Path(path), found


def read_events(
    folder: Path,
    choice: Choice,
    layout: str | None,
) -> Results:
    """Read the runs below a folder.

    Args:
        folder: with event files, at any depth.
        choice: the tag that is compared, and which of its values is taken; of other
            tags it is the last.
        layout: what the folders of runs say, such as `{optimizer}/seed{seed}`; None if
            only pairs such as `seed=3` in their names are settings.

    Raises:
        ValueError: there is no event file, no run has the tag, or a folder does not fit
            the layout.
    """
    left_out: LeftOut = []
    runs = _with_hyperparameters(_read_files(folder, left_out))
    for path, run in runs.items():
        run.settings |= _hparams_files(path, left_out)
        run.settings |= _folder_settings(path, folder, layout)
    _keep_names_apart(runs.values())
    tags: set[str] = set()
    for run in runs.values():
        tags.update(run.points)
    check_key(choice.metric, sorted(tags), "tag")

    rows: dict[str, dict[str, Any]] = {}
    for path, run in runs.items():
        if choice.metric not in run.points and not run.settings:
            left_out.append((str(path), f"it has no tag {choice.metric}"))
            continue
        row = {"run": str(path.relative_to(folder)), **run.settings}
        for tag, points in run.points.items():
            row[tag] = choice.value_of(tag, points)
        rows[f"{path} (event files)"] = row
        check_size(folder, len(rows), len(row))
    note = choice.note(f"the values of {choice.metric}")
    ends = _last_steps(runs.values(), choice.metric)
    notes = [note, *uneven_ends(ends, "step")]
    return Results(
        kind="TensorBoard folder",
        table=table_of_rows(rows),
        descriptions=frozenset({"run"}),
        measurements=frozenset(tags),
        left_out=left_out,
        notes=notes,
    )


def _keep_names_apart(runs: Iterable[EventRun]) -> None:
    """Rename the scalars `NAME` to `scalars.NAME` if runs have a setting `NAME`."""
    runs = list(runs)
    settings = {"run"}
    for run in runs:
        settings.update(run.settings)
    for run in runs:
        for tag in settings.intersection(run.points):
            run.points[f"scalars.{tag}"] = run.points.pop(tag)


def _last_steps(runs: Iterable[EventRun], tag: str) -> list[int]:
    """The last step of every run that has the tag."""
    ends = []
    for run in runs:
        points = run.points.get(tag)
        if points:
            step, *_ = max(points)
            ends.append(step)
    return ends


def _read_files(folder: Path, left_out: LeftOut) -> dict[Path, EventRun]:
    """The runs by folder; files that are not readable are added to `left_out`."""
    runs: dict[Path, EventRun] = {}
    budget = MOST_POINTS
    for path, files in _event_folders(folder):
        owner, prefix = _owner(path, folder)
        run = runs.setdefault(owner, EventRun())
        for file in files:
            try:
                budget -= _read_file(file, prefix, run)
            except ValueError as error:
                left_out.append((str(file), str(error)))
            if budget < 0:
                raise ValueError(
                    f"{folder} must hold at most {MOST_POINTS:,} scalars; name fewer "
                    "runs at a time"
                )
    return runs


def _owner(path: Path, folder: Path) -> tuple[Path, str]:
    """The folder of the run that event files belong to, and the prefix of their tags.

    `run/train` and `run/validation` are parts of `run`.
    """
    if path != folder and path.name in PARTS:
        return path.parent, f"{path.name}/"
    return path, ""


def _read_file(
    path: Path,
    prefix: str,
    run: EventRun,
) -> int:
    """Add the scalars and hyperparameters of an event file to a run.

    Returns:
        The number of scalars.

    Raises:
        ValueError: it is no regular file, too large or damaged.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    open_regular(path, LARGEST_EVENTS).close()
    count = 0
    try:
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                count += _add_value(event, value, prefix, run)
                if count > MOST_POINTS:
                    return count
    # Any type: a damaged file leads to whatever protobuf and TensorBoard make of it.
    except Exception as error:
        raise ValueError(f"it is damaged ({first_line(error)})") from error
    return count


def _add_value(
    event: Any,
    value: Any,
    prefix: str,
    run: EventRun,
) -> bool:
    """Add a scalar or hyperparameters to a run; whether it was a scalar.

    Raises:
        ValueError: what is recorded as a scalar has another number of values than one.
    """
    from tensorboard.util.tensor_util import make_ndarray

    plugin = value.metadata.plugin_data
    if value.tag == HPARAMS_TAG:
        run.settings |= _hyperparameters(plugin.content)
    is_scalar = plugin.plugin_name == "scalars" and value.HasField("tensor")
    if is_scalar:
        # A single stored value is repeated until it fills the shape, whatever that is.
        shape = value.tensor.tensor_shape.dim
        if any(axis.size != 1 for axis in shape):
            raise ValueError(f"{value.tag} must have one value per step")
        number = shortest_decimal(make_ndarray(value.tensor).flat[0])
        points = run.points.setdefault(prefix + value.tag, [])
        points.append((event.step, event.wall_time, number))
    return is_scalar


def _hyperparameters(content: bytes) -> dict[str, Any]:
    """The hyperparameters that a run was started with, from TensorBoard's plugin."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData.FromString(content)
    settings: dict[str, Any] = {}
    for name, value in data.session_start_info.hparams.items():
        kind = value.WhichOneof("kind")
        if kind is not None:
            settings[name] = getattr(value, kind)
    return settings


def _with_hyperparameters(runs: dict[Path, EventRun]) -> dict[Path, EventRun]:
    """The runs, where a subfolder with hyperparameters belongs to the run around it.

    PyTorch's `add_hparams` writes them to a folder of their own.
    """
    kept = dict(runs)
    for path, run in runs.items():
        around = runs.get(path.parent)
        if around and run.settings and around.points:
            around.settings = run.settings | around.settings
            for tag, points in run.points.items():
                around.points.setdefault(tag, points)
            del kept[path]
    return kept


def _hparams_files(path: Path, left_out: LeftOut) -> dict[str, Any]:
    """The settings in the YAML file that Lightning writes; none if there is no file.

    Args:
        path: folder of a run; the folder around it is looked at too.
        left_out: receives a file that holds more than plain values.
    """
    for folder in (path, path.parent):
        file = folder / HPARAMS_FILE
        if not file.is_file():
            continue
        try:
            content = read_yaml(file)
        except ValueError as error:
            left_out.append((str(file), str(error)))
            return {}
        if isinstance(content, dict):
            return flat_settings(content)
    return {}


def _folder_settings(
    path: Path,
    folder: Path,
    layout: str | None,
) -> dict[str, str]:
    """The settings in the names of the folders of a run."""
    relative = path.relative_to(folder).as_posix()
    if layout is not None:
        return _fields(relative, layout)
    settings = {}
    for name, value in PAIR.findall(relative):
        settings[name] = value
    return settings


def _fields(relative: str, layout: str) -> dict[str, str]:
    """What the path of a run says by the layout.

    Raises:
        ValueError: the layout has no field, or the path does not fit.
    """
    names = FIELD.findall(layout)
    distinct = set(names)
    if not names or len(distinct) < len(names):
        raise ValueError(
            "layout must name every field once in braces, such as "
            f"{{optimizer}}/seed{{seed}}, got {layout}"
        )
    pattern = ""
    parts = FIELD.split(layout.strip("/"))
    for place, text in enumerate(parts):
        is_field = place % 2 == 1
        if is_field:
            pattern += "([^/]+?)"
        else:
            pattern += re.escape(text)
    found = re.search(rf"(?:^|/){pattern}(?:/|$)", relative)
    if found is None:
        raise ValueError(
            f"layout must fit the folder of every run; {relative} is not of the form "
            f"{layout}"
        )
    return dict(zip(names, found.groups(), strict=True))
