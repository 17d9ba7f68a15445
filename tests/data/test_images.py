import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from normlab.data.images import (
    cifar10,
    digits,
    fashion_mnist,
    image_folder,
    mnist,
    tiny_imagenet,
)


def photograph(path, colour=(200, 100, 50), size=(8, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def no_network(*arguments, **options):
    raise OSError("no network")


@pytest.fixture
def folder(tmp_path):
    for part in ("train", "test"):
        for index, name in enumerate(("cat", "dog")):
            for number in range(3):
                photograph(
                    tmp_path / part / name / f"{number}.png", (100 * index, 0, 0)
                )
    return tmp_path


@pytest.mark.parametrize(
    "load",
    [mnist, fashion_mnist, cifar10, tiny_imagenet, partial(image_folder, image_size=4)],
    ids=range(5),
)
def test_a_root_of_null_is_refused(load):
    with pytest.raises(
        ValueError, match="dataset.root must be the path of the .*folder.*, got None"
    ):
        load(None)


def test_digits_are_complete_and_scaled():
    data = digits()
    assert data.train_inputs.shape == (1437, 1, 8, 8)
    assert data.test_inputs.shape == (360, 1, 8, 8)
    assert data.train_inputs.max() == 255
    assert torch.bincount(data.test_targets).tolist() == [
        36,
        36,
        35,
        37,
        36,
        37,
        36,
        36,
        35,
        36,
    ]
    assert torch.equal(digits().test_targets, data.test_targets)


def test_mnist(shared_data):
    data = mnist(str(shared_data))
    assert data.train_inputs.shape == (60000, 1, 28, 28)
    assert data.train_targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(data.train_targets).min() == 5421
    assert data.test_targets[:3].tolist() == [7, 2, 1]
    assert data.class_names == digits().class_names


def test_fashion_mnist(shared_data):
    data = fashion_mnist(str(shared_data))
    assert torch.bincount(data.test_targets).tolist() == [1000] * 10
    assert data.class_names[9] == "Ankle boot"


def test_cifar10_from_local_files(tmp_path, monkeypatch):
    """The published format with one image per batch; its checksums are not checked."""
    import pickle

    import torchvision

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(3072, dtype=np.uint32).astype(np.uint8)[None]
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [3]}))
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": list("abcdefghij")})
    )
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    data = cifar10(str(tmp_path))
    assert data.train_inputs.shape == (5, 3, 32, 32)
    assert data.train_inputs[0, 0, 0, :3].tolist() == [0, 1, 2]
    assert data.train_inputs[0, 1, 0, 0].item() == 1024 % 256
    assert data.test_targets.tolist() == [3]


def test_image_folder(folder):
    data = image_folder(str(folder), 4)
    assert data.class_names == ("cat", "dog")
    assert data.train_inputs.shape == (6, 3, 4, 4)
    assert data.train_targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_inputs[3, :, 0, 0].tolist() == [100, 0, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "test" / "dog").rename(root / "test" / "wolf"),
            r"differ in \['dog', 'wolf'\]",
        ),
        (
            lambda root: (root / "train" / "cat" / "1.png").write_bytes(b"\x89PNG"),
            r"image .*1\.png cannot be read",
        ),
        (lambda root: (root / "train").rename(root / "training"), "no .*train"),
        (
            lambda root: [path.unlink() for path in (root / "train" / "cat").iterdir()],
            "cat must hold images",
        ),
    ],
)
def test_a_damaged_folder_is_refused_by_name(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        image_folder(str(folder), 4)


def test_images_in_folders_of_a_class_and_of_many_formats_are_taken(folder, capsys):
    for ending in ("gif", "jfif", "JPG", "bmp"):
        photograph(folder / "train" / "dog" / "deep" / "er" / f"9.{ending}")
    photograph(folder / "train" / ".ipynb_checkpoints" / "0.png")
    photograph(folder / "train" / "cat" / ".hidden" / "0.png")
    data = image_folder(str(folder), 4)
    assert data.class_names == ("cat", "dog")
    assert data.train_targets.tolist() == [0] * 3 + [1] * 7
    assert capsys.readouterr().err == ""


def test_files_that_are_left_out_are_counted(folder, capsys):
    (folder / "train" / "cat" / "a.heic").write_bytes(b"")
    (folder / "test" / "dog" / "notes.txt").write_text("")
    (folder / "test" / "dog" / ".DS_Store").write_text("")
    photograph(folder / "train" / "lost.png")
    photograph(folder / "train" / "cat" / "._0.png")
    image_folder(str(folder), 4)
    start = f"note: {folder}: left out"
    assert capsys.readouterr().err == (
        f"{start} images that Pillow cannot read here: 1 .heic; "
        "convert them or install pillow-heif\n"
        f"{start} files of other formats: 1 .txt\n"
        f"{start} hidden images: 1\n"
        f"{start} images that lie in no folder of a class: 1\n"
    )


@pytest.fixture
def with_val(folder):
    """A folder with one validation image per class, brighter than the others."""
    for index, name in enumerate(("cat", "dog")):
        photograph(folder / "val" / name / "0.png", (200 + index, 0, 0))
    return folder


def test_val_beside_test_is_unused_and_noted(with_val, capsys):
    data = image_folder(str(with_val), 4)
    assert (len(data.train_targets), data.num_validation) == (6, 0)
    assert capsys.readouterr().err == (
        f"note: {with_val / 'val'} is not used: validation is taken out of train/; "
        "dataset.use_val=true validates on val/ instead\n"
    )


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_beside_test_validates_if_asked(with_val, capsys, name):
    (with_val / "val").rename(with_val / name)
    data = image_folder(str(with_val), 4, use_val=True)
    assert data.train_targets.tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    assert data.train_inputs[:, 0, 0, 0].tolist() == [*[0] * 3, *[100] * 3, 200, 201]
    assert (len(data.test_targets), data.num_validation) == (6, 2)
    assert capsys.readouterr().err == ""


def test_val_without_test_is_the_test_part(with_val, capsys):
    shutil.rmtree(with_val / "test")
    assert image_folder(str(with_val), 4).test_inputs[1, 0, 0, 0] == 201
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="dataset.use_val=true needs val/<class>/ bes"):
        image_folder(str(with_val), 4, use_val=True)


def test_val_takes_the_place_of_a_test_folder_without_classes(with_val, capsys):
    """Such as `test/images/` of Tiny-ImageNet, or that of a competition."""
    shutil.rmtree(with_val / "test")
    photograph(with_val / "test" / "images" / "0.png")
    assert image_folder(str(with_val), 4).test_inputs[1, 0, 0, 0] == 201
    assert capsys.readouterr().err == (
        f"note: {with_val / 'test'} holds no folder of a class; val/ is the test part\n"
    )


def test_val_must_hold_the_classes_of_train(with_val):
    (with_val / "val" / "dog").rename(with_val / "val" / "wolf")
    with pytest.raises(
        ValueError, match=r"val must hold the classes of .*\['dog', 'wolf'\]"
    ):
        image_folder(str(with_val), 4, use_val=True)


def test_the_size_of_stored_images_must_be_given(folder):
    with pytest.raises(
        ValueError, match="stored_size must be a whole number of at least 1, got None"
    ):
        image_folder(str(folder), None)


def test_one_class_is_refused(tmp_path):
    for part in ("train", "val"):
        photograph(tmp_path / part / "cat" / "0.png")
    with pytest.raises(ValueError, match="holds one class only, cat"):
        image_folder(str(tmp_path), 4)
