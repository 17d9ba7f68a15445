import errno
import json
import math
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from normlab import results
from normlab.results import (
    environment,
    read_result,
    without_password,
    write_atomically,
    write_files,
    write_json,
    write_result,
    written_whole,
)


def test_json_has_null_where_a_number_is_not_finite(tmp_path):
    write_json(
        tmp_path / "result.json",
        {"status": "diverged", "metrics": {"loss": math.nan, "list": [math.inf, 1.5]}},
    )
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "status": "diverged",
        "metrics": {"loss": None, "list": [None, 1.5]},
    }
    assert read_result(tmp_path)["status"] == "diverged"


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = {"status": "finished", "metrics": {"loss": math.nan}, "sizes": (1, 2.5)}
    write_result(tmp_path, result)
    expected = {"status": "finished", "metrics": {"loss": None}, "sizes": [1, 2.5]}
    assert read_result(tmp_path) == expected


def test_a_changed_result_is_refused(tmp_path):
    path = tmp_path / "result.json"
    write_result(tmp_path, {"status": "finished", "metrics": {"test/accuracy": 0.9667}})
    path.write_text(path.read_text().replace("0.9667", "0.1667"))
    with pytest.raises(ValueError, match="does not match its checksum.* delete it to"):
        read_result(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_files_are_on_the_disk_before_any_has_its_name(tmp_path, monkeypatch):
    names_at_force = []
    forced = []

    def fsync(descriptor):
        forced.append(os.fstat(descriptor).st_size)
        names_at_force.append(sorted(path.name for path in tmp_path.iterdir()))

    monkeypatch.setattr(results.os, "fsync", fsync)
    contents = {tmp_path / "a": b"1", tmp_path / "b": b"22", tmp_path / "c": b"333"}
    write_files(contents)
    assert sorted(forced) == [1, 2, 3]
    for names in names_at_force:
        assert len(names) == 3
        assert all(name.endswith(".tmp") for name in names)
    found = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == contents


def test_if_one_of_several_files_fails_none_is_replaced(tmp_path):
    write_files({tmp_path / "a": b"old", tmp_path / "b": b"old"})
    with pytest.raises(TypeError):
        write_files({tmp_path / "a": b"new", tmp_path / "b": "no bytes"})
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"a": b"old", "b": b"old"}


def test_no_files_are_written_at_once(tmp_path):
    write_files({})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_one_of_several_files_is_told(tmp_path, monkeypatch):
    def fsync(descriptor):
        if os.fstat(descriptor).st_size == 2:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(results.os, "fsync", fsync)
    with pytest.raises(OSError, match="full"):
        write_files({tmp_path / "a": b"1", tmp_path / "b": b"22"})
    assert list(tmp_path.iterdir()) == []


def test_no_result_yet(tmp_path):
    assert read_result(tmp_path) is None


@pytest.mark.parametrize("content", ["{", "[]", '{"metrics": {}}'])
def test_a_damaged_result_is_named(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ValueError, match=r"result\.json .*delete it to run again"):
        read_result(tmp_path)


def test_environment_names_packages_and_device():
    found = environment({"accelerator": "cpu", "name": "cpu", "threads": 1})
    assert found["packages"]["torch"].startswith("2.")
    assert found["device"]["threads"] == 1
    json.dumps(found)


@pytest.mark.parametrize(
    ("word", "stored"),
    [
        ("storage=postgresql://me:s3:c@host/db", "storage=postgresql://me:***@host/db"),
        ("uri=redis://:secret@host", "uri=redis://:***@host"),
        ("uri=http://host:5000?x=a@b", "uri=http://host:5000?x=a@b"),
        ("uri=db://me:a/b@host", "uri=db://me:***@host"),
        ("uri=db://me@srv:pw@host/x", "uri=db://me@srv:***@host/x"),
        ("uri=db://host/x?password=pw&a=b", "uri=db://host/x?password=***&a=b"),
        ("uri=http://host:5000/a@b", "uri=http://host:5000/a@b"),
        ("dataset.root=a:b@c", "dataset.root=a:b@c"),
    ],
)
def test_a_stored_command_holds_no_password(word, stored):
    assert without_password(word) == stored


def test_the_commit_is_that_of_the_package_and_not_of_what_lies_around_it(
    tmp_path, monkeypatch
):
    def git(*words):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b@c"]
        subprocess.run([*command, *words], check=True, capture_output=True)

    (tmp_path / "lab.py").write_text("")
    git("init")
    git("add", "lab.py")
    git("commit", "--message", "Begin")
    installed = tmp_path / "results.py"
    monkeypatch.setattr(results, "__file__", str(installed))
    installed.write_text("")
    assert results.git_state() is None
    git("add", "results.py")
    assert results.git_state()["dirty"] is True
    git("commit", "--message", "Add the package")
    assert results.git_state()["dirty"] is False


def test_the_environment_stores_the_command_without_passwords(monkeypatch):
    monkeypatch.setattr("sys.argv", ["dir/train.py", "x=db://me:secret@host"])
    command = environment({"accelerator": "cpu"})["command"]
    assert command == ["train.py", "x=db://me:***@host"]


def test_a_copy_stays_when_the_file_is_written_again(tmp_path):
    path, copy = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for content in (b"1", b"2", b"3"):
        if path.exists():
            results.copy_atomically(path, copy)
            results.copy_atomically(path, copy)  # as after a kill in between
        results.write_atomically(path, content)
    assert (path.read_bytes(), copy.read_bytes()) == (b"3", b"2")
    assert sorted(tmp_path.iterdir()) == [path, copy]


def test_a_file_that_can_have_one_name_only_is_renamed(tmp_path, monkeypatch):
    def link(*arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    path, copy = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    path.write_bytes(b"1")
    results.copy_atomically(path, copy)
    assert copy.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_leaves_no_second_name(tmp_path, monkeypatch, number):
    def replace(*arguments):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "last.ckpt"
    path.write_bytes(b"1")
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match=os.strerror(number)):
        results.copy_atomically(path, tmp_path / "previous.ckpt")
    assert list(tmp_path.iterdir()) == [path]


def write_half(path):
    with written_whole(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("the disk is full")


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="the disk is full"):
        write_half(path)
    assert path.read_text() == "old"
    with written_whole(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_its_target_stays_as_it_was(tmp_path):
    target = tmp_path / "precious"
    target.write_text("old")
    link = tmp_path / "norms.png"
    link.symlink_to(target)
    with written_whole(link) as temporary:
        temporary.write_text("new")
    assert not link.is_symlink()
    assert (link.read_text(), target.read_text()) == ("new", "old")


@pytest.mark.timeout(100)
def test_a_pipe_that_the_user_has_not_named_is_replaced(tmp_path):
    path = tmp_path / "norms.png"
    os.mkfifo(path)
    with written_whole(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_link_keeps_its_target_and_the_target_is_written(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(target)
    with written_whole(link, follow_links=True) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with written_whole(path, follow_links=True) as temporary:
        temporary.write_text("new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert path.is_fifo()


def test_a_pipe_without_a_name_is_written_to_by_its_descriptor():
    reader, writer = os.pipe()
    path = Path(f"/dev/fd/{writer}")  # as for >(gzip), and /dev/stdout before a pipe
    with written_whole(path, follow_links=True) as temporary:
        temporary.write_text("new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("flags", "content"),
    [
        (os.O_APPEND, "olds,new,after"),  # as by `>>`
        (os.O_TRUNC, "before,new,after"),  # as by `>`
    ],
)
def test_a_file_that_is_open_is_written_where_it_stands(tmp_path, flags, content):
    file = tmp_path / "out.csv"
    file.write_text("olds,")
    descriptor = os.open(file, os.O_WRONLY | flags)
    if flags == os.O_TRUNC:
        os.write(descriptor, b"before,")
    link = tmp_path / "link"
    link.symlink_to(f"/dev/fd/{descriptor}")
    with written_whole(link, follow_links=True) as temporary:
        temporary.write_text("new,")
    os.write(descriptor, b"after")
    os.close(descriptor)
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("is_closed", "what"), [(True, "closed"), (False, "open for reading only")]
)
def test_a_file_that_is_not_open_for_writing_is_refused_at_once(
    tmp_path, is_closed, what
):
    file = tmp_path / "out.csv"
    file.write_text("old")
    descriptor = os.open(file, os.O_RDONLY)
    if is_closed:
        os.close(descriptor)
    path = Path(f"/dev/fd/{descriptor}")
    message = f"^{path} must be open for writing, as by {descriptor}>FILE; it is {what}"
    with (
        pytest.raises(ValueError, match=message),
        written_whole(path, follow_links=True),
    ):
        raise AssertionError("the block must not begin")
    if not is_closed:
        os.close(descriptor)
    assert file.read_text() == "old"


def test_after_an_error_a_file_that_is_open_is_as_it_was(tmp_path):
    file = tmp_path / "out.csv"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    path = Path(f"/dev/fd/{descriptor}")
    with (
        suppress(InterruptedError),
        written_whole(path, follow_links=True) as temporary,
    ):
        temporary.write_text("new")
        raise InterruptedError
    os.close(descriptor)
    assert file.read_text() == ""
