"""Examine submissions, each in a process of its own: `python -m normlab.check.worker`.

The worker imports torch once. For every request, a line on standard input, it forks a
child, which gets limits of time, memory and file size before the first line of the
submission runs, and ends without running anything that the submission has left for its
end. The verdict lies in a file that the request names; how the child ended is a line on
standard output.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

PAGE = resource.getpagesize()
POLL_SECONDS = 0.02
MOST_FILES = 4096  # that may be open


def main() -> None:
    """Serve one request after the other until standard input ends."""
    # What an examination needs at its first use is imported once, for all children.
    import torch._dynamo
    import torch.testing  # noqa: F401

    import normlab.check.submissions  # noqa: F401

    for line in sys.stdin:
        answer = serve(json.loads(line))
        print(json.dumps(answer), flush=True)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Examine a submission in a child, and say how the child ended.

    Returns:
        "code": the exit code, or minus the number of the signal that ended it;
        "timed_out": whether that was because its time was over.
    """
    pid = os.fork()
    if pid == 0:
        _examine_as_child(request)
    # Other processes may have the cores, and a child may sleep.
    deadline = time.monotonic() + 2 * request["seconds"] + 10
    status = None
    while status is None and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        found, found_status = os.waitpid(pid, os.WNOHANG)
        status = found_status if found else None
    timed_out = status is None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # with all that it has started
    if status is None:
        _, status = os.waitpid(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status), "timed_out": timed_out}


def _examine_as_child(request: dict[str, Any]) -> NoReturn:
    try:
        os.setsid()
        _leave_everything_behind(request["folder"], request["errors"])
        set_limits(request["seconds"], request["memory"], request["disk"])
        _write_verdict(request)
        os._exit(0)  # neither threads nor functions of `atexit` come to a word
    except BaseException as error:
        with contextlib.suppress(BaseException):
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _write_verdict(request: dict[str, Any]) -> None:
    from normlab.check.submissions import examine_file
    from normlab.check.verdicts import to_dict

    token = request.pop("token")
    path = request.pop("verdict")
    examination = examine_file(
        request["reference"], request["options"], request["like"], request["compiled"]
    )
    verdict = {"token": token, "examination": to_dict(examination)}
    Path(path).write_text(json.dumps(verdict), encoding="utf-8")


def _leave_everything_behind(folder: str, errors: str) -> None:
    """Give up the files of the worker, and work in a folder of its own."""
    nothing = os.open(os.devnull, os.O_RDWR)
    error_file = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(error_file, 2)
    os.closerange(3, MOST_FILES)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = folder


def set_limits(seconds: int, memory: int, disk: int) -> None:
    """Limit this process and those that it starts.

    Args:
        seconds: of processor time.
        memory: bytes of address space beyond what is in use now.
        disk: bytes that a file may grow to.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits: dict[int, int] = {
        resource.RLIMIT_CPU: seconds + int(used.ru_utime + used.ru_stime) + 1,
        resource.RLIMIT_AS: pages * PAGE + memory,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_CORE: 0,
    }
    for what, limit in limits.items():
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # The first limit of processor time ends the process in a way that tells why.
        soft = allowed - 1 if what == resource.RLIMIT_CPU else allowed
        resource.setrlimit(what, (soft, allowed))


if __name__ == "__main__":
    main()
