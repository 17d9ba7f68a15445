import errno
import pickle
import signal
from pathlib import Path

import pytest

from normlab.endings import (
    STORAGE_ERRORS,
    DiskFull,
    Diverged,
    EarlyEnd,
    Interrupted,
    Pruned,
    Stopped,
    StorageFault,
    disk_is_full,
    explain_file_error,
    find_file_error,
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


@pytest.mark.parametrize("number", STORAGE_ERRORS)
def test_a_file_system_that_cannot_be_used_is_found(number):
    outer = RuntimeError("writer failed")
    outer.__cause__ = fault = OSError(number, "out of order")
    assert find_file_error(outer, Path("outputs/run")) is fault
    end = explain_file_error(fault, Path("outputs/run"))
    assert isinstance(end, StorageFault)
    assert str(end).startswith("outputs/run cannot be ")
    assert "(out of order)" in str(end)
    assert end.exit_code == 1


def test_a_run_folder_that_was_moved_is_a_mistake():
    missing = FileNotFoundError(errno.ENOENT, "No such file", "outputs/run/x.csv")
    assert find_file_error(missing, Path("outputs/run")) is missing
    assert find_file_error(missing, Path("outputs/other")) is None
    end = explain_file_error(missing, Path("outputs/run"))
    assert isinstance(end, ValueError)
    assert str(end) == (
        "outputs/run must stay in its place while the run trains, "
        "outputs/run/x.csv: No such file"
    )


def test_other_errors_are_none_of_files():
    assert find_file_error(ValueError("outputs/run"), Path("outputs/run")) is None
    assert find_file_error(None, Path("outputs/run")) is None
