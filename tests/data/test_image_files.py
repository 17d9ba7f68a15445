from collections import Counter

import pytest
from PIL import Image

from normlab.data import image_files as module
from normlab.data.image_files import (
    LeftOut,
    class_names,
    image_files,
    labelled_files,
    readable_endings,
)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_at_any_depth_are_found_in_order(tmp_path):
    touch(tmp_path, "b.png", "a/z.JPEG", "a/b/c.gif", "c.webp")
    found = [
        str(path.relative_to(tmp_path)) for path in image_files(tmp_path, LeftOut())
    ]
    assert found == ["a/b/c.gif", "a/z.JPEG", "b.png", "c.webp"]


def test_links_are_followed_and_circles_left(tmp_path):
    touch(tmp_path, "elsewhere/a.png")
    folder = tmp_path / "cat"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    assert [path.name for path in image_files(folder, LeftOut())] == ["a.png"]


def test_what_is_left_out_is_counted_by_ending(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "readable_endings", lambda: frozenset({".png"}))
    touch(tmp_path, "0.png", "a/1.heic", "2.HEIC", "3.avif", "4.txt", "README")
    touch(tmp_path, "._0.png", ".DS_Store", ".git/5.png")
    left_out = LeftOut()
    assert [path.name for path in image_files(tmp_path, left_out)] == ["0.png"]
    assert left_out == LeftOut(
        unreadable=Counter({".heic": 2, ".avif": 1}),
        others=Counter({".txt": 1, "no ending": 1}),
        hidden=1,
    )


def test_many_endings_are_shortened(capsys):
    left_out = LeftOut()
    for ending in "abcdefg":
        left_out.count(f"0.{ending}")
    left_out.count("1.g")
    left_out.note("here")
    assert capsys.readouterr().err == (
        "note: here: left out files of other formats: "
        "2 .g, 1 .a, 1 .b, 1 .c, 1 .d, 2 others\n"
    )


def test_a_folder_without_images_is_refused(tmp_path):
    touch(tmp_path, "a.txt", ".b.png")
    with pytest.raises(ValueError, match="must hold images .*; it has none"):
        image_files(tmp_path, LeftOut())


def test_classes_are_folders_that_are_not_hidden(tmp_path):
    touch(tmp_path, "dog/0.png", "cat/0.png", ".ipynb_checkpoints/0.png", "lost.png")
    touch(tmp_path, "notes.txt")
    left_out = LeftOut()
    assert class_names(tmp_path, left_out) == ["cat", "dog"]
    assert left_out == LeftOut(without_class=1)


def test_every_image_gets_the_label_of_its_folder(tmp_path):
    touch(tmp_path, "a/0.png", "a/b/1.png", "c/2.png")
    found = labelled_files([tmp_path / "c", tmp_path / "a"])
    assert [(path.name, label) for path, label in found] == [
        *[("2.png", 0), ("0.png", 1), ("1.png", 1)],
    ]


def test_the_endings_that_pillow_reads():
    endings = readable_endings()
    assert endings >= {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff"}
    assert endings >= {".webp", ".gif", ".jfif", ".jpe", ".mpo"}
    assert (".avif" in endings) == ("AVIF" in Image.OPEN)
