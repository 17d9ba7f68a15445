"""Arrays on disk: complete or written again, for all who may read the folder."""

import errno
import hashlib
import os
import stat
import threading

import numpy as np
import pytest
from filelock import FileLock

from normlab.data import array_cache
from normlab.data.array_cache import cached_array


def cached(path, shape=(1000, 4), dtype=np.float32, value=7):
    return cached_array(
        path, shape, dtype, lambda array: array.fill(value), "or do without"
    )


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda content: content[:-1], "has no complete digest of its content"),
        (lambda content: content + b"x", "has no complete digest of its content"),
        (lambda content: content[:-40], "has no complete digest of its content"),
        (lambda content: content[:-41], "cannot be read ("),
        (lambda content: content[: len(content) // 2], "cannot be read ("),
        (lambda content: b"", "cannot be read ("),
        (lambda content: content[:9], "cannot be read ("),
        (lambda content: content.replace(b"{", b"("), "cannot be read ("),
        (lambda content: b"PK\x03\x04no", "cannot be read ("),
        (
            lambda content: content[:5000] + b"\1" + content[5001:],
            "does not hold the bytes that were written",
        ),
    ],
    ids=[
        *("last byte", "one byte more", "no digest", "one byte of the array", "half"),
        *("empty", "header", "bracket", "zip", "one bit"),
    ],
)
def test_a_damaged_file_is_reported_and_written_again(tmp_path, capsys, damage, fault):
    path = tmp_path / "numbers.npy"
    cached(path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert cached(path).unique().tolist() == [7.0]
    assert capsys.readouterr().err.startswith(f"warning: the cache {path} {fault}")
    assert path.read_bytes() == whole
    assert cached(path, value=8).unique().tolist() == [7.0]
    assert capsys.readouterr().err == ""


def test_a_file_of_an_earlier_version_is_written_again(tmp_path, capsys):
    path = tmp_path / "numbers.npy"
    np.save(path, np.full((1000, 4), 8, np.float32))
    assert cached(path).unique().tolist() == [7.0]
    assert capsys.readouterr().err == (
        f"warning: the cache {path} has no complete digest of its content; "
        "it is written again\n"
    )


def test_a_file_is_checked_again_after_it_changed(tmp_path):
    path = tmp_path / "numbers.npy"
    for _ in range(2):
        cached(path)
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"\1" + content[5001:])
    os.utime(path, (1e9, 1e9))  # clocks of file systems tick every few milliseconds
    assert cached(path).unique().tolist() == [7.0]


def test_the_digest_does_not_depend_on_the_number_of_threads(monkeypatch):
    array = np.arange(1000, dtype=np.int64)
    whole = array_cache._digest(array)
    assert whole == hashlib.sha256(hashlib.sha256(array.tobytes()).digest()).digest()
    monkeypatch.setattr(array_cache, "CHUNK_BYTES", 4000)
    halves = [
        hashlib.sha256(part.tobytes()).digest() for part in (array[:500], array[500:])
    ]
    assert array_cache._digest(array) == hashlib.sha256(b"".join(halves)).digest()


def test_an_array_of_another_shape_is_written_again(tmp_path, capsys):
    path = tmp_path / "numbers.npy"
    cached(path, shape=(3,), dtype=np.uint8)
    assert cached(path).shape == (1000, 4)
    assert capsys.readouterr().err == (
        f"warning: the cache {path} holds uint8 (3,) instead of float32 (1000, 4); "
        "it is written again\n"
    )


def test_files_have_the_default_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        cached(tmp_path / "numbers.npy")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "numbers.npy").stat().st_mode) == 0o644


def test_an_array_is_computed_without_locks_of_the_file_system(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    assert cached(tmp_path / "a.npy").unique().tolist() == [7]
    assert not list(tmp_path.glob(".*lease*"))


def test_a_process_that_waits_for_another_says_so(tmp_path, capsys):
    path = tmp_path / "array.npy"
    is_locked = threading.Event()
    is_noticed = threading.Event()

    def hold():
        with FileLock(tmp_path / ".array.lock"):
            is_locked.set()
            is_noticed.wait(60)

    owner = threading.Thread(target=hold)
    owner.start()
    is_locked.wait(60)
    threading.Timer(0.2, is_noticed.set).start()
    assert cached(path)[0, 0] == 7
    owner.join()
    assert capsys.readouterr().err == (
        f"another process computes {path}; waiting for it to end\n"
    )
