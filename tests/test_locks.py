"""Locks where the file system has some, and leases where it has none."""

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from normlab import leases, locks
from normlab.endings import LeaseLost
from normlab.locks import Lock


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No file system has been tried yet, and this process has no leases."""
    monkeypatch.setattr(locks, "_findings", {})
    monkeypatch.setattr(locks, "_tokens", {})


@pytest.fixture(params=["refused", "granted to everybody"])
def without_locks(request, monkeypatch):
    """A file system whose locks keep nobody out."""

    def flock(descriptor, operation):
        if request.param == "refused":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    first, second = Lock(tmp_path / ".lock"), Lock(tmp_path / ".lock")
    assert first.acquire(seconds=0)
    assert (first.why_lease, first.was_taken_over) == (None, False)
    assert not second.acquire(seconds=0)
    first.release()
    assert second.acquire(seconds=0)
    second.release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_lease_keeps_others_out_until_it_is_released(tmp_path, without_locks):
    first, second = Lock(tmp_path / ".lock"), Lock(tmp_path / ".lock")
    assert first.acquire(seconds=0)
    assert not second.acquire(seconds=0)
    assert re.fullmatch(rf"process {os.getpid()} on \S+", second.owner)
    first.release()
    assert second.acquire(seconds=0)
    assert not second.was_taken_over
    second.release()
    assert not list(tmp_path.glob("*.lease.*"))


@pytest.mark.parametrize(
    ("flock", "why"),
    [
        (lambda *_: None, "two processes get the same lock"),
        (errno.ENOLCK, os.strerror(errno.ENOLCK)),
        (errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)),
        (errno.ENOSYS, os.strerror(errno.ENOSYS)),
    ],
)
def test_why_there_is_a_lease(tmp_path, monkeypatch, flock, why):
    def refuse(*arguments):
        raise OSError(flock, os.strerror(flock))

    monkeypatch.setattr(fcntl, "flock", flock if callable(flock) else refuse)
    with Lock(tmp_path / ".lock") as lock:
        assert lock.why_lease == why


def test_other_errors_of_a_lock_are_raised(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"):
        Lock(tmp_path / ".lock").acquire()


@pytest.mark.parametrize(
    ("mount", "why"),
    [
        ("- nfs4 server:/x rw,vers=4.2,local_lock=none", None),
        ("- nfs server:/x rw,nolock,local_lock=all", "it is mounted with nolock"),
        (
            "- nfs server:/x rw,local_lock=flock,addr=1",
            "it is mounted with local_lock=flock",
        ),
        ("- lustre x@tcp:/x rw,flock,user_xattr", None),
        ("- lustre x@tcp:/x rw,localflock", "it is mounted with localflock"),
        ("- ext4 /dev/nolock rw", None),
    ],
)
def test_locks_of_one_machine_are_not_enough(tmp_path, monkeypatch, mount, why):
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = [
        "22 1 0:9999 / / rw - nfs other:/ rw,nolock",
        f"23 1 {number} / /x rw,relatime shared:1 {mount}",
    ]
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n".join(lines))
    assert locks._local_locks(device) == why


def test_every_file_system_is_tried_once(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(locks, "_why_not_real", lambda *_: tried.append(1))
    for name in ("a", "b"):
        with Lock(tmp_path / name):
            pass
    assert tried == [1]


def test_a_lease_that_is_renewed_is_never_taken(tmp_path, without_locks, monkeypatch):
    monkeypatch.setenv(leases.VARIABLE, "0.8")
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.1)
    with Lock(tmp_path / ".lock"):
        assert not Lock(tmp_path / ".lock").acquire(seconds=3)


def stop_renewing(lock):
    """Let the owner of a lease give no sign of life any more, as if it were paused."""
    lock._lease._released.set()
    lock._lease._renewing.join()


@pytest.fixture
def taken_over(tmp_path, without_locks, monkeypatch):
    """A lock whose owner was paused, and the lock of the process that took it."""
    monkeypatch.setenv(leases.VARIABLE, "0.5")
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.1)
    paused = Lock(tmp_path / ".lock")
    paused.acquire()
    stop_renewing(paused)
    tokens = locks.leases()
    new = Lock(tmp_path / ".lock")
    assert new.acquire(seconds=60)
    locks._tokens.clear()
    return paused, tokens, new, locks.leases()


def test_a_stale_lease_is_taken_over_and_its_owner_told(tmp_path, taken_over):
    paused, tokens, new, _ = taken_over
    assert new.was_taken_over
    locks.adopt(tokens)
    with pytest.raises(LeaseLost, match="another process has taken over"):
        locks.check_lease(tmp_path / "checkpoints" / "last.ckpt")
    locks.check_lease(tmp_path.parent / "elsewhere" / "last.ckpt")
    paused.release()  # of what it no longer has
    assert len(list(tmp_path.glob(".lock.lease.*"))) == 1
    new.release()
    assert not list(tmp_path.glob(".lock.lease.*"))


def test_the_new_owner_may_write(tmp_path, taken_over):
    new = taken_over[2]
    locks.adopt({new._lease.path: new._lease.record.token})
    locks.check_lease(tmp_path / "result.json")


def test_a_folder_that_is_gone_is_no_lost_lease(tmp_path, without_locks):
    folder = tmp_path / "run"
    folder.mkdir()
    with Lock(folder / ".lock"):
        folder.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError):
            locks.check_lease(folder / "result.json")


TAKE_AND_END = """
import errno, fcntl, os, sys
from pathlib import Path

def flock(*arguments):
    raise OSError(errno.ENOLCK, "")

fcntl.flock = flock
from normlab.locks import Lock
assert Lock(Path(sys.argv[1])).acquire(seconds=0)
os._exit(0)
"""


def test_the_lease_of_a_process_that_has_ended_is_taken_at_once(
    tmp_path, without_locks, monkeypatch
):
    monkeypatch.setenv(leases.VARIABLE, "1e6")
    command = [sys.executable, "-c", TAKE_AND_END, str(tmp_path / ".lock")]
    subprocess.run(command, check=True)
    lock = Lock(tmp_path / ".lock")
    assert lock.acquire(seconds=0)
    assert lock.was_taken_over
    lock.release()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"token": 1}', b"x" * 600, None]
)
def test_a_damaged_lease_file_is_stale_after_a_while(
    tmp_path, without_locks, monkeypatch, content
):
    monkeypatch.setenv(leases.VARIABLE, "0.3")
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.1)
    path = tmp_path / ".lock.lease.3"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    lock = Lock(tmp_path / ".lock")
    assert not lock.acquire(seconds=0)
    assert lock.owner == "another process"
    assert lock.acquire(seconds=60)
    assert [path.name for path in tmp_path.glob("*lease*")] == [".lock.lease.4"]
    lock.release()


@pytest.mark.parametrize("text", ["0", "-1", "x", ""])
def test_the_setting_of_the_time_is_checked(monkeypatch, text):
    monkeypatch.setenv(leases.VARIABLE, text)
    message = f"NORMLAB_LEASE_SECONDS must be a number of seconds above 0, got '{text}'"
    with pytest.raises(ValueError, match=message):
        leases.lease_seconds()
