"""Checkpoint files: written atomically, read without running code, and verified."""

import errno
import io
import os
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab import signals
from normlab.endings import NoResult
from normlab.files import open_regular
from normlab.messages import first_line, with_class
from normlab.results import write_atomically
from normlab.terminal import print_line
from normlab.training.checkpoint_checks import check_state
from normlab.training.tasks import Task

# Files in the folder `checkpoints` of a run.
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.ckpt"

# After these, a file may be read another time: they say nothing about its content.
PASSING_ERRORS = (
    *(errno.EMFILE, errno.ENFILE, errno.ESTALE),
    *(errno.ENOMEM, errno.EACCES, errno.EPERM),
)
NO_MEMORY = "allocate memory"  # in what torch says on a CPU


def save(path: Path, state: dict) -> None:
    """Write a checkpoint atomically. Stop signals wait until it is written.

    Raises:
        OSError: the file could not be written; an older file at `path` is unchanged.
    """
    buffer = io.BytesIO()
    torch.save(without_neighbours(state), buffer)
    with signals.postponed():
        write_atomically(path, buffer.getbuffer())


def without_neighbours(state: Any) -> Any:
    """The state with a copy of every tensor that is a part of a larger memory.

    A file would hold the whole memory of such a tensor. The tensors of runs that train
    together lie side by side, see `normlab.stacked`.

    Args:
        state: dictionaries, lists, tuples and what they hold.
    """
    if isinstance(state, Tensor):
        has_neighbours = state.untyped_storage().nbytes() > state.nbytes
        return state.clone() if has_neighbours else state
    if isinstance(state, dict):
        copied = copy(state)
        for key, value in state.items():
            copied[key] = without_neighbours(value)
        return copied
    if type(state) in (list, tuple):
        return type(state)(map(without_neighbours, state))
    return state


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint and verify the checksum of every record in it.

    Args:
        path: the file.
        device: where its tensors are put.

    Raises:
        ValueError: the file is damaged, or holds anything but tensors and plain types.
        OSError: the system cannot open files at present, or not for this user.
        MemoryError, RuntimeError: there is too little memory at present.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            _check_records(archive, path.stat().st_size)
        return torch.load(path, map_location=device, weights_only=True)
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError) as error:
        if _says_nothing(error):
            raise
        raise ValueError(
            f"checkpoint {path} cannot be read: {first_line(error)}; delete it or name "
            "another one"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the unpickler refuses in several other ways
        raise ValueError(
            f"checkpoint {path} holds more than tensors and plain types; "
            f"it is not loaded, since it could run code"
        ) from error


def _says_nothing(error: Exception) -> bool:
    """Whether an error of reading says nothing about the content of the file."""
    if isinstance(error, OSError):
        return error.errno in PASSING_ERRORS
    return isinstance(error, torch.OutOfMemoryError) or NO_MEMORY in str(error)


def _check_records(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse damaged records, and records that unpack to more than the file has.

    Torch stores its records as they are. If they were compressed, somebody else wrote
    them, and a small file could fill the memory.
    """
    if sum(record.file_size for record in archive.infolist()) > size:
        raise ValueError("its records are larger than the file")
    damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"record {damaged} does not match its checksum")


def print_warning(text: str) -> None:
    """Print a warning; of the processes of a run, only the first one does."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print_line(f"warning: {text}")


def load_latest(
    folder: Path,
    task: Task | None = None,
    warn: Callable[[str], None] = print_warning,
) -> dict[str, Any] | None:
    """Read the newest intact state of an unfinished run.

    Args:
        folder: the folder `checkpoints` of the run.
        task: the task of the run, which the state must fit; None checks types alone.
        warn: called with a sentence about every file that cannot be used.

    Returns:
        The state, with the name of its file as `read_from`; None if there is none.

    Raises:
        NoResult: there is too little memory at present.
        OSError: see `load`.
    """
    paths = [folder / LAST, folder / PREVIOUS]
    existing = [path for path in paths if path.is_file()]
    for path in existing:
        try:
            return check_state(load(path), path, task) | {"read_from": path.name}
        except ValueError as error:
            warn(str(error))
        except (MemoryError, RuntimeError) as error:
            reason = with_class(error)
            raise NoResult(f"{path} cannot be read now ({reason})") from error
    if existing:
        warn(
            f"no checkpoint in {folder} can be used; the run starts from the beginning"
        )
    return None
