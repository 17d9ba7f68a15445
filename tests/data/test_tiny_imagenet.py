"""Tiny-ImageNet as published, and as people have it."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data.test_images import no_network, photograph
from normlab.data.images import tiny_imagenet


def test_tiny_imagenet(shared_data, tmp_path):
    data = tiny_imagenet(str(shared_data / "tiny-imagenet-20"), cache=str(tmp_path))
    assert data.train_inputs.shape == (2000, 3, 64, 64)
    assert data.test_inputs.shape == (1000, 3, 64, 64)
    assert torch.bincount(data.train_targets).tolist() == [100] * 20
    assert torch.bincount(data.test_targets).tolist() == [50] * 20
    assert data.class_names[0] == "Egyptian cat"
    file = (
        (shared_data / "tiny-imagenet-20/val/val_annotations.txt")
        .read_text()
        .split("\t")[0]
    )
    with Image.open(shared_data / "tiny-imagenet-20/val/images" / file) as image:
        assert torch.equal(
            data.test_inputs[0],
            torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1),
        )


@pytest.fixture
def tiny(tmp_path):
    """Tiny-ImageNet's layout with two classes and three images; `val` is grayscale."""
    tmp_path = tmp_path / "tiny-imagenet-200"
    tmp_path.mkdir()
    (tmp_path / "wnids.txt").write_text("n2\nn1\n")
    (tmp_path / "words.txt").write_text("n1\tcat, feline\nn2\tdog\n")
    for name, colour in (("n1", (10, 0, 0)), ("n2", (20, 0, 0))):
        photograph(
            tmp_path / "train" / name / "images" / f"{name}_0.png", colour, (64, 64)
        )
    photograph(tmp_path / "val" / "images" / "val_0.png", (10, 10, 10), (64, 64), "L")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.png\tn1\t0\t0\t1\t1\n")
    (tmp_path / "test" / "images").mkdir(parents=True)
    return tmp_path


def test_tiny_imagenet_in_its_original_layout(tiny):
    data = tiny_imagenet(str(tiny))
    assert data.class_names == ("dog", "cat")
    assert data.train_inputs[:, 0, 0, 0].tolist() == [20, 10]
    assert data.test_targets.tolist() == [1]
    assert data.test_inputs[0, :, 0, 0].tolist() == [10, 10, 10]


def test_tiny_imagenet_with_val_sorted_into_classes(tiny):
    for name in ("n1", "n2"):
        photograph(tiny / "val" / name / "images" / "a.png", (30, 0, 0), (64, 64))
        photograph(tiny / "val" / name / "b.png", (40, 0, 0), (64, 64))
    data = tiny_imagenet(str(tiny))
    assert data.test_targets.tolist() == [0, 1]
    assert data.test_inputs[:, 0, 0, 0].tolist() == [30, 30]
    for name in ("n1", "n2"):
        (tiny / "val" / name / "images" / "a.png").unlink()
        (tiny / "val" / name / "images").rmdir()
    (tiny / "val" / "val_annotations.txt").unlink()
    assert tiny_imagenet(str(tiny)).test_inputs[:, 0, 0, 0].tolist() == [40, 40]


def test_tiny_imagenet_with_images_beside_their_boxes(tiny):
    for name in ("n1", "n2"):
        folder = tiny / "train" / name
        (folder / "images" / f"{name}_0.png").rename(folder / f"{name}_0.png")
        (folder / "images").rmdir()
        (folder / f"{name}_boxes.txt").write_text("")
    data = tiny_imagenet(str(tiny))
    assert data.train_inputs[:, 0, 0, 0].tolist() == [20, 10]


def test_blank_lines_of_the_annotations_are_left_out(tiny):
    path = tiny / "val" / "val_annotations.txt"
    path.write_text(path.read_text() + "\n  \n")
    assert tiny_imagenet(str(tiny)).test_targets.tolist() == [1]


def test_classes_that_share_their_first_word_are_told_apart(tiny):
    (tiny / "words.txt").write_text("n1\tcrane, bird\nn2\tcrane\n")
    assert tiny_imagenet(str(tiny)).class_names == ("crane (n2)", "crane (n1)")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "val/val_annotations.txt",
            "val_0.png\n",
            "val_annotations.txt, line 1: the second entry must be one of the 2",
        ),
        ("val/val_annotations.txt", "val_0.png\tn3\t0\n", "wnids.txt, got 'n3'"),
        ("val/val_annotations.txt", "", "must list the labelled images, it is empty"),
        (
            "val/val_annotations.txt",
            None,
            "with wnids.txt, train/ and val/; there is no .*val_annotations.txt",
        ),
        ("val/val_annotations.txt", "gone.png\tn1\n", r"gone\.png cannot be read"),
        ("wnids.txt", "n1\n", "must name at least two classes"),
        (
            "wnids.txt",
            "n1\nn2\nn1\n",
            r"wnids\.txt must name every class once, n1 comes twice",
        ),
        ("wnids.txt", "n1\nn4\n", r"train.n4.images must hold images"),
    ],
)
def test_a_damaged_tiny_imagenet_is_refused_by_name(tiny, file, text, message):
    (tiny / file).unlink() if text is None else (tiny / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        tiny_imagenet(str(tiny))


def test_a_missing_tiny_imagenet_is_downloaded(tiny, tmp_path, monkeypatch):
    import hashlib
    import shutil

    archive = shutil.make_archive(
        str(tmp_path / "published"), "zip", tmp_path, "tiny-imagenet-200"
    )
    md5 = hashlib.md5((tmp_path / "published.zip").read_bytes()).hexdigest()
    monkeypatch.setattr("normlab.data.tiny_imagenet.TINY_IMAGENET", f"file://{archive}")
    monkeypatch.setattr("normlab.data.tiny_imagenet.TINY_IMAGENET_MD5", md5)
    data = tiny_imagenet(str(tmp_path / "data" / "mine"))
    assert data.class_names == ("dog", "cat")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["mine"]
    monkeypatch.setattr("normlab.data.tiny_imagenet.TINY_IMAGENET_MD5", "0" * 32)
    with pytest.raises(
        ValueError, match="published.zip must have the md5 checksum 00000"
    ):
        tiny_imagenet(str(tmp_path / "else" / "other"))
    assert not (tmp_path / "else").exists()
    monkeypatch.setattr(
        "normlab.data.tiny_imagenet.TINY_IMAGENET", "http://nowhere.invalid/tiny.zip"
    )
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(
        ValueError,
        match=r"root=.*other must be the unpacked .* "
        r"http://nowhere.* failed \(.*no net",
    ):
        tiny_imagenet(str(tmp_path / "else" / "other"))
    assert not (tmp_path / "else").exists()


def test_tiny_imagenet_inside_another_folder(tiny):
    data = tiny_imagenet(str(tiny.parent))
    assert data.class_names == ("dog", "cat")


def test_without_wnids_the_folders_of_train_are_the_classes(tiny, capsys):
    (tiny / "wnids.txt").unlink()
    data = tiny_imagenet(str(tiny))
    assert data.class_names == ("cat", "dog")
    assert data.test_targets.tolist() == [0]
    assert "has no wnids.txt; the folders of train are" in capsys.readouterr().err


def test_a_message_names_what_was_found(tiny):
    shutil.rmtree(tiny / "train")
    (tiny / "wnids.txt").unlink()
    with pytest.raises(ValueError, match=r"no .*wnids.txt, .*holds test, val, words"):
        tiny_imagenet(str(tiny))
