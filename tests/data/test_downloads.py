import hashlib
import io
import os
import tarfile
import zipfile

import pytest

from normlab.data.downloads import (
    check_digest,
    data_path,
    download_file,
    new_folder,
    open_data,
    refuse_special_files,
    unpack_archive,
)


def fail_inside(folder, file=None):
    with new_folder(folder):
        assert folder.is_dir()
        if file:
            (folder / file).write_text("")
        raise KeyError


def test_a_new_folder_is_removed_if_the_work_inside_fails(tmp_path):
    with pytest.raises(KeyError):
        fail_inside(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_old_folders_and_folders_with_files_stay(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyError):
        fail_inside(tmp_path / "old")
    assert (tmp_path / "old").exists()
    with pytest.raises(KeyError):
        fail_inside(tmp_path / "old" / "new", "file")
    assert (tmp_path / "old" / "new" / "file").exists()


def test_a_file_is_downloaded_under_its_checksum(tmp_path):
    (tmp_path / "published").write_text("abc")
    url = f"file://{tmp_path / 'published'}"
    download_file(
        url, hashlib.sha256(b"abc").hexdigest(), tmp_path / "data" / "file.csv"
    )
    assert (tmp_path / "data" / "file.csv").read_text() == "abc"
    with pytest.raises(ValueError, match="downloading it failed .*invalid hash value"):
        download_file(url, "0" * 64, tmp_path / "other" / "file.csv")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="name a copy of it"):
        download_file(
            f"file://{tmp_path}/nothing", None, tmp_path / "other" / "file.csv"
        )


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "content")


def write_tar(path, names, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "../target"
            member.size = 7 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"content"))


@pytest.mark.parametrize(
    ("write", "name"), [(write_zip, "a.zip"), (write_tar, "a.tgz")]
)
def test_an_archive_is_unpacked(tmp_path, write, name):
    write(tmp_path / name, ["data/train/0.png", "data/..name"])
    unpack_archive(tmp_path / name, tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.*"))
    assert [path.name for path in files] == ["..name", "0.png"]
    assert files[1].read_text() == "content"


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "data/../../out.txt", "/tmp/out.txt", "C:\\out.txt", "..\\out.txt"],
)
def test_members_outside_of_the_folder_are_refused(tmp_path, name):
    write_zip(tmp_path / "a.zip", ["data/0.png", name])
    (tmp_path / "out").mkdir()
    with pytest.raises(
        ValueError,
        match="a.zip cannot be unpacked: its member .* outside of the folder",
    ):
        unpack_archive(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../out.txt", tarfile.REGTYPE),
        ("data/link", tarfile.SYMTYPE),
        ("data/link", tarfile.LNKTYPE),
        ("data/pipe", tarfile.FIFOTYPE),
        ("data/device", tarfile.CHRTYPE),
    ],
)
def test_tar_members_that_are_not_of_the_folder_are_refused(tmp_path, name, kind):
    (tmp_path / "target").write_text("")
    write_tar(tmp_path / "a.tar.gz", [name], kind)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    if kind == tarfile.SYMTYPE:
        write_tar(tmp_path / "a.tar.gz", ["link"], kind)
    with pytest.raises(ValueError, match="a.tar.gz cannot be unpacked: .*published"):
        unpack_archive(tmp_path / "a.tar.gz", tmp_path / "out" / "deep")
    assert not [path for path in tmp_path.rglob("*") if path.name == "out.txt"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.rar"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, name):
    (tmp_path / name).write_text("no archive")
    with pytest.raises(ValueError, match=f"{name} cannot be unpacked"):
        unpack_archive(tmp_path / name, tmp_path / "out")


@pytest.mark.timeout(100)
def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_text("abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("file", "link"):
        with open_data(tmp_path / name) as file:
            assert file.read() == b"abc"
    for name in ("pipe", "device", "."):
        with pytest.raises(ValueError, match="must be a regular file"):
            open_data(tmp_path / name)
    with pytest.raises(ValueError, match="pipe must be a regular file"):
        check_digest(tmp_path / "pipe", "sha256", "")
    with pytest.raises(ValueError, match="device must be a regular file; remove it"):
        refuse_special_files(tmp_path)
    refuse_special_files(tmp_path / "nothing")


def test_a_root_that_is_no_path_is_refused():
    assert data_path("a/b", "a file").parts == ("a", "b")
    for root in (None, 2024, True):
        with pytest.raises(
            ValueError, match=f"^dataset.root must be the path of a file, got {root}$"
        ):
            data_path(root, "a file")
