"""Scores of a stored run that are computed once, and kept in its folder.

Each file holds what it was computed by, of which state, and a checksum. Whatever does
not fit is computed again, so a file of somebody else is never more than plain numbers.
"""

import errno
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from normlab.checksums import (
    BEST_CHECKPOINT,
    archive_digest,
    best_checkpoint,
    verified,
    with_checksum,
)
from normlab.files import read_json
from normlab.results import read_result, write_json
from normlab.terminal import print_once

FOLDER = "evaluations"
SCHEMA = 1

Scores = dict[str, float]
Settings = Mapping[str, Any]


def stored_scores(
    folder: Path,
    settings: Settings,
    compute: Callable[[], Scores],
) -> Scores:
    """The scores that were stored for these settings; else they are computed.

    Args:
        folder: the folder of a finished run.
        settings: all that the scores depend on besides the state of the run.
        compute: makes the scores.

    Raises:
        ValueError: `result.json` or the checkpoint is damaged, or as `compute` does.
        FileNotFoundError: there is no best checkpoint, and the result does not name it.
    """
    head = {"schema": SCHEMA, "of": _state(folder), "settings": dict(settings)}
    path = folder / FOLDER / f"{_digest(settings)}.json"
    found = _read(path, head)
    if found is None:
        found = compute()
        _write(path, head, found)
    return found


def evaluation_scores(
    folder: Path, settings: Settings, trusted: Sequence[str] = ()
) -> Scores:
    """The scores of `evaluate_run`, stored or computed.

    Args:
        folder: the folder of a finished run.
        settings: arguments of `evaluate_run` by name, all of them, so that other
            defaults change no stored scores.
        trusted: packages of the user's own that the run may call.

    Returns:
        The metrics of all parts by name, such as `test/accuracy`; `ece`, `brier` and
        `nll` are among those of a classification.

    Raises:
        ValueError: as `evaluate_run` does.
    """

    def compute() -> Scores:
        # Imported late: reading stored scores needs no torch.
        from normlab.config.trust import guard_process
        from normlab.evaluation.evaluate import evaluate_run

        guard_process()
        return evaluate_run(folder, trusted=trusted, calibration=True, **settings)

    return stored_scores(folder, settings, compute)


def probed_value(
    folder: Path, probe: str, num_batches: int, trusted: Sequence[str] = ()
) -> float:
    """A number of the untrained network of a run, stored or computed.

    Args:
        folder: the folder of a finished run.
        probe: one of `normlab.evaluation.probes.PROBES`.
        num_batches: number of training batches that it is computed from.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: as the probe does.
    """

    def compute() -> Scores:
        from normlab.evaluation.probes import PROBES

        return {probe: PROBES[probe](folder, num_batches, trusted)}

    settings = {"probe": probe, "num_batches": num_batches}
    return stored_scores(folder, settings, compute)[probe]


def _state(folder: Path) -> str:
    """The digest of the best state of a run; earlier versions did not store it."""
    result = read_result(folder) or {}
    stored = result.get(BEST_CHECKPOINT)
    if isinstance(stored, str):
        return stored
    return archive_digest(best_checkpoint(folder))


def _digest(settings: Settings) -> str:
    text = json.dumps(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path, head: Settings) -> Scores | None:
    """The stored scores; None if there are none of this state by these settings."""
    if path.parent.is_symlink():
        return None
    try:
        content = read_json(path)
        stored = verified(content, str(path))
        scores = stored["scores"]
        fits = {key: stored.get(key) for key in head} == head
        if not fits or "checksum" not in content:
            return None
        return {str(name): _number(value) for name, value in scores.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _number(value: Any) -> float:
    """A stored score; JSON has no NaN and holds null in its place."""
    return math.nan if value is None else float(value)


def _write(path: Path, head: Settings, scores: Scores) -> None:
    """Store scores if the folder can be written; it may be somebody else's."""
    finite = {}
    for name, value in scores.items():
        finite[name] = value if math.isfinite(value) else None
    try:
        if path.parent.is_symlink():
            raise PermissionError(errno.EPERM, f"{FOLDER} is a link")
        path.parent.mkdir(exist_ok=True)
        write_json(path, with_checksum({**head, "scores": finite}))
    except OSError as error:
        print_once(
            f"note: scores could not be stored beside the runs ({error.strerror}); "
            "they are computed again next time"
        )
