import errno
import pickle
import signal
from pathlib import Path

import pytest

from normlab.endings import (
    DiskFull,
    Diverged,
    EarlyEnd,
    Interrupted,
    Pruned,
    Stopped,
    disk_is_full,
)


@pytest.mark.parametrize(
    ("end", "text", "exit_code"),
    [
        (Interrupted(signal.SIGTERM), "stopped by SIGTERM", 143),
        (Interrupted(signal.SIGINT, "no queue"), "stopped by SIGINT (no queue)", 130),
        (Stopped("make room", 1), "make room", 1),
        (Pruned(3, 1.5), "pruned after epoch 3", 1),
        (Diverged(7, float("nan")), "training loss became nan at step 7", 1),
    ],
)
def test_an_early_end_has_a_reason_and_an_exit_code(end, text, exit_code):
    assert isinstance(end, EarlyEnd)
    assert (str(end), end.exit_code) == (text, exit_code)


def test_a_full_disk_names_its_folder():
    end = DiskFull(Path("outputs"))
    assert str(end).startswith("no space is left on the disk of outputs, the last ")
    assert end.exit_code == 1


def test_a_stopped_sweep_crosses_a_process_border():
    copy = pickle.loads(pickle.dumps(Stopped("stopped by SIGTERM", 143)))
    assert (copy.reason, copy.exit_code) == ("stopped by SIGTERM", 143)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_behind_other_exceptions(number):
    outer = RuntimeError("writer failed")
    outer.__cause__ = OSError(number, "full")
    assert disk_is_full(outer)


def test_other_errors_are_no_full_disk():
    assert not disk_is_full(OSError(errno.EACCES, "denied"))
    assert not disk_is_full(ValueError("no space left"))
    assert not disk_is_full(None)
