"""Grade the submissions of a class, each in a process of its own.

Submissions are code of other people, which may loop for ever, fill the memory, end the
process, or write files. A process of its own with limits keeps all of this from the
others and from their grades.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from normlab.check.examination import broken, examine
from normlab.check.findings import Examination
from normlab.check.notebooks import SUFFIX as NOTEBOOK
from normlab.check.notebooks import loaded, split_notebook
from normlab.check.verdicts import from_dict
from normlab.norms.loading import BrokenNorm, split_reference

EXAMINED = "examined"
SUFFIXES = (".py", NOTEBOOK)
LARGEST_VERDICT = 2**20
LARGEST_ERROR = 2**16
DISK = 2**22  # bytes that one file of a submission may have
START_SECONDS = 300  # until a worker has imported torch on a busy machine
# What a submission may see of the environment; the rest may hold secrets.
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class Grade:
    """What one submission is worth.

    Attributes:
        submission: its name.
        status: "examined", or how it ended before that.
        examination: what was found; of one that ended early nothing is right.
        note: the reason in words; empty if it was examined.
        seconds: that it took.
    """

    submission: str
    status: str
    examination: Examination
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        seconds: of processor time; twice as much on the clock, and 10 more.
        memory: bytes beyond those of torch.
    """

    seconds: int = 60
    memory: int = 2 * 2**30


@dataclass(frozen=True)
class Task:
    """How submissions are examined.

    Attributes:
        file: name of the file in every submission; empty if there is only one.
        norm: name of the class; empty if every file has only one.
        options: further arguments of its constructor.
        like: kind of layer; None finds out.
        compiled: try torch.compile too.
        limits: of every process.
    """

    file: str = ""
    norm: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    like: str | None = "batch"
    compiled: bool = False
    limits: Limits = Limits()


def examine_file(
    reference: str, options: Mapping[str, Any], like: str | None, compiled: bool
) -> Examination:
    """Examine a norm by its reference; a file that cannot be imported has a fault.

    Args:
        reference: `FILE.py:NAME`, `FILE.ipynb:NAME`, or either without the name.
        options: further arguments of its constructor.
        like: kind of layer; None finds out.
        compiled: try torch.compile too.
    """
    path, name = split_file(reference)
    try:
        with loaded(reference) as (target, cells):
            return examine(target, options, like, compiled, cells)
    except ValueError as error:
        line = error.line if isinstance(error, BrokenNorm) else None
        message = str(error).replace(f"{path.parent}/", "")
        return broken(name or path.stem, message, line, like)


def split_file(reference: str) -> tuple[Path, str]:
    """Split `FILE.py:NAME` or `FILE.ipynb:NAME` into path and name.

    Raises:
        ValueError: the text names neither, or there is no such file.
    """
    return split_notebook(reference) or split_reference(reference)


def find_submissions(folder: Path, file: str = "") -> dict[str, Path | None]:
    """The file of every submission, by its name.

    A submission is a Python file or a notebook in the folder, or a folder with one
    Python file, with one notebook and no Python file, or with one file of the wanted
    name. Links and hidden files are left alone.

    Args:
        folder: of the submissions.
        file: the wanted name; empty takes any.

    Returns:
        The files; None for a folder in which the file is not to be found.

    Raises:
        ValueError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise ValueError(f"--folder must be a folder of submissions, got {folder}")
    found: dict[str, Path | None] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")) or path.is_symlink():
            continue
        if path.is_dir():
            found[path.name] = _file_of(path, file)
        elif path.suffix in SUFFIXES:
            name = path.name if path.stem in found else path.stem
            found[name] = path
    if not found:
        raise ValueError(
            f"{folder} has no submissions: no Python files, no notebooks and no folders"
        )
    return found


def _file_of(folder: Path, file: str) -> Path | None:
    if Path(file).is_absolute():
        raise ValueError(
            f"the file must be named as it lies in every submission, such as "
            f"{Path(file).name}, got {file}"
        )
    patterns = [escape(file)] if file else [f"*{suffix}" for suffix in SUFFIXES]
    for pattern in patterns:
        found = sorted(folder.rglob(pattern))
        paths = [path for path in found if _is_submitted(path, folder)]
        if paths:
            return paths[0] if len(paths) == 1 else None
    return None


def _is_submitted(path: Path, folder: Path) -> bool:
    """Whether a path is a file, and not one that Jupyter or Python keeps for itself."""
    parts = path.relative_to(folder).parts
    is_hidden = any(part.startswith((".", "__")) for part in parts)
    return path.is_file() and not path.is_symlink() and not is_hidden


class Worker:
    """A process that examines one submission after the other, each in a child."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def examine(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """How the child of a request ended; None if it took the worker with it."""
        process = self._started()
        seconds = 2 * request["seconds"] + 10 + START_SECONDS
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            answer = process.stdout.readline() if ready else b""
            result: dict[str, Any] = json.loads(answer)
            return result
        except (OSError, ValueError):  # it has ended, or was stopped
            self._end()
            return None

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the worker was closed")
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "normlab.check.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            return self._process

    def close(self) -> None:
        """End the process, and start no other."""
        with self._lock:
            self._is_closed = True
        self._end()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    return kept | threads | {"PYTHONDONTWRITEBYTECODE": "1"}


def grade_all(
    submissions: Mapping[str, Path | None], task: Task, jobs: int
) -> Iterator[Grade]:
    """Grade submissions side by side, and give each grade once it is known.

    Args:
        submissions: see `find_submissions`.
        task: how they are examined.
        jobs: number of processes at a time.
    """
    jobs = min(jobs, len(submissions))
    workers = [Worker() for _ in range(jobs)]
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def grade(name: str, path: Path | None) -> Grade:
        worker = free.get()
        try:
            return grade_submission(name, path, task, worker)
        finally:
            free.put(worker)

    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        waiting = [pool.submit(grade, *one) for one in submissions.items()]
        for one in as_completed(waiting):
            yield one.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.close()


def grade_submission(name: str, path: Path | None, task: Task, worker: Worker) -> Grade:
    """Grade one submission in a process of its own.

    Args:
        name: of the submission.
        path: its file; None if it has none, or several.
        task: how it is examined.
        worker: that starts the process.
    """
    begin = time.monotonic()
    if path is None:
        wanted = task.file or "Python file or notebook"
        note = f"its folder must have one {wanted}, and has none or several"
        return _without_verdict(name, "not found", note, task, begin)
    with tempfile.TemporaryDirectory(prefix="normlab-check-") as place:
        folder = Path(place, "work")
        folder.mkdir()
        verdict = Path(place, f"verdict-{secrets.token_hex(8)}.json")
        errors = Path(place, "errors.txt")
        token = secrets.token_hex(16)
        request = _request(path, task) | {
            "token": token,
            "folder": str(folder),
            "verdict": str(verdict),
            "errors": str(errors),
        }
        answer = worker.examine(request)
        examination = _read_verdict(verdict, token)
        ended_well = answer == {"code": 0, "timed_out": False}
        if examination is not None and ended_well:
            seconds = time.monotonic() - begin
            return Grade(name, EXAMINED, examination, seconds=seconds)
        status, note = _how_it_ended(answer, _last_line(errors), task.limits)
        return _without_verdict(name, status, note, task, begin)


def reason_for_nothing(grade: Grade) -> str:
    """Why nothing of a submission could be examined; empty if something could."""
    if grade.note:
        return grade.note
    for finding in grade.examination.faults:
        if finding.property_name in ("construction", "call"):
            return finding.sentence
    return ""


def _request(path: Path, task: Task) -> dict[str, Any]:
    separator = ":" if task.norm else ""
    return {
        "reference": f"{path.resolve()}{separator}{task.norm}",
        "options": dict(task.options),
        "like": task.like,
        "compiled": task.compiled,
        "seconds": task.limits.seconds,
        "memory": task.limits.memory,
        "disk": DISK,
    }


def _read_verdict(path: Path, token: str) -> Examination | None:
    """The examination of a verdict that has the token; None if there is none."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(LARGEST_VERDICT)
    try:
        verdict = json.loads(content)
        if not secrets.compare_digest(str(verdict["token"]), token):
            return None
        return from_dict(verdict["examination"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _last_line(path: Path) -> str:
    """The last line that a process has written to standard error."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LARGEST_ERROR))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else ""


def _how_it_ended(
    answer: dict[str, Any] | None, last_line: str, limits: Limits
) -> tuple[str, str]:
    """A status, and the reason in words."""
    if answer is None:
        return "ended early", "it has ended or stopped the process that examines it"
    code = answer["code"]
    if answer["timed_out"] or code == -signal.SIGXCPU:
        return OUT_OF_TIME, f"it did not end within {limits.seconds} seconds"
    if code < 0:
        name = f"signal {-code}"
        if -code in set(signal.Signals):  # not those between the real-time signals
            name = signal.Signals(-code).name
        return "crashed", f"its process was ended by {name}"
    reason = f": {last_line}" if last_line else ""
    note = f"its process ended with code {code} before the examination did{reason}"
    return "ended early", note


def _without_verdict(
    name: str, status: str, note: str, task: Task, begin: float
) -> Grade:
    examination = broken(name, note, None, task.like)
    return Grade(name, status, examination, note, time.monotonic() - begin)
