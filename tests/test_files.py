"""Reading of files that may come from somebody else."""

import os
import socket

import pytest

from normlab import files
from normlab.files import (
    open_regular,
    open_to_append,
    read_json,
    read_text,
    read_yaml,
    refuse_link,
)


def test_plain_files_are_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, "é"]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, "é"]}
    (tmp_path / "a.yaml").write_text("a: [1, 2.5, null]\nb: é\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": [1, 2.5, None], "b": "é"}
    assert read_text(tmp_path / "a.yaml").endswith("b: é\n")


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing")


def pipe(path):
    os.mkfifo(path)


def link(path):
    path.with_name("target").write_text("{}")
    path.symlink_to(path.with_name("target"))


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def unix_socket(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()


@pytest.mark.timeout(100)
@pytest.mark.parametrize("make", [pipe, link, device, folder, unix_socket])
@pytest.mark.parametrize("read", [read_text, read_json, read_yaml])
def test_what_is_no_regular_file_is_refused(tmp_path, make, read):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(ValueError, match="file must be a regular file"):
        read(path)


def test_a_device_is_refused_without_being_read():
    with pytest.raises(ValueError, match="/dev/zero must be a regular file"):
        open_regular(files.Path("/dev/zero"))


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.json"
    with open(path, "wb") as file:
        file.truncate(2**40)  # a sparse file: a tebibyte of nothing
    with pytest.raises(ValueError, match=r"at most 16 MiB, it has 1048576$"):
        read_json(path)
    with pytest.raises(ValueError, match=r"at most 1 MiB"):
        open_regular(path, 2**20)


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 200_000, b'{"a": nope}'])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"result\.json is not readable \("):
        read_json(tmp_path / "result.json")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 15)
)


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LAUGHS, "an alias of something that holds aliases"),
        ("a: &a x\nb: [" + "*a, " * 101 + "]", "more than 100 aliases"),
        ("a: &a [*a]", "an alias of something that holds aliases"),
        ("[" * 5000, "deeper than 100 levels"),
        ("- " * 5000, "deeper than 100 levels"),
        ("a: " + "{b: " * 200 + "}" * 200, "deeper than 100 levels"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: [", "while parsing"),
        ("a: 2020-13-45", "month must be in"),
        ("a: !!bool x", "a value does not fit its tag"),
        ('a: !!int ""', "a value does not fit its tag"),
        ("a: !!timestamp x", "a value does not fit its tag"),
        ("a: 1" + ":0" * 50, "an integer of more than 100 characters"),
        ("a: &a 1" + ":0" * 50 + "\nb: *a", "an integer of more than 100 characters"),
        ("a: 0x" + "f" * 100, "an integer of more than 100 characters"),
        ("\n".join(" " * n + "a:" for n in range(300)), "deeper than 100 levels"),
        ("-  " * 5000, "deeper than 100 levels"),
        ("- ? " * 5000, "deeper than 100 levels"),
    ],
)
def test_yaml_beyond_plain_data_is_refused(tmp_path, content, reason):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"config\.yaml is not readable \(.*{reason}"):
        read_yaml(tmp_path / "config.yaml")


def test_a_few_aliases_are_what_yaml_writes_for_shared_lists(tmp_path):
    (tmp_path / "config.yaml").write_text("a: &x [1, 2]\nb: *x\n")
    assert read_yaml(tmp_path / "config.yaml") == {"a": [1, 2], "b": [1, 2]}


def test_integers_are_read_as_yaml_has_them(tmp_path):
    (tmp_path / "a.yaml").write_text("a: -7\nb: 0x1F\nc: 1_000\nd: 1:30\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": -7, "b": 31, "c": 1000, "d": 90}


def test_a_file_is_appended_to_and_read(tmp_path):
    for text in (b"a\n", b"b\n"):
        with open_to_append(tmp_path / "lines") as file:
            file.write(text)
    with open_to_append(tmp_path / "lines") as file:
        file.seek(0)
        assert file.read() == b"a\nb\n"


@pytest.mark.timeout(100)
@pytest.mark.parametrize("make", [pipe, link, device])
def test_what_is_no_regular_file_is_not_appended_to(tmp_path, make):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(ValueError, match="file must be a regular file"):
        open_to_append(path)


def test_a_link_is_refused_in_a_line_that_says_what_to_do(tmp_path):
    refuse_link(tmp_path)
    refuse_link(tmp_path / "nothing")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="link must not be a link.*; delete the link"):
        refuse_link(link)
