import hashlib

import pytest

from normlab.data.downloads import data_path, download_file, first_line, new_folder


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


def test_a_root_that_is_no_path_is_refused():
    assert data_path("a/b", "a file").parts == ("a", "b")
    for root in (None, 2024, True):
        with pytest.raises(
            ValueError, match=f"^dataset.root must be the path of a file, got {root}$"
        ):
            data_path(root, "a file")


def test_first_line_of_an_exception():
    assert first_line(OSError("one:\ntwo")) == "one"
    assert first_line(TimeoutError()) == "TimeoutError"
