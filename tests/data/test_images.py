import numpy as np
import pytest
import torch
from PIL import Image

from normlab.data.decoding import decode
from normlab.data.images import cifar10, digits, fashion_mnist, image_folder, mnist, tiny_imagenet


def photograph(path, colour=(200, 100, 50), size=(8, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    for part in ("train", "test"):
        for index, name in enumerate(("cat", "dog")):
            for number in range(3):
                photograph(tmp_path / part / name / f"{number}.png", (100 * index, 0, 0))
    return tmp_path


def test_digits_are_complete_and_scaled():
    data = digits()
    assert data.train_inputs.shape == (1437, 1, 8, 8)
    assert data.test_inputs.shape == (360, 1, 8, 8)
    assert data.train_inputs.max() == 255
    assert torch.bincount(data.test_targets).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert torch.equal(digits().test_targets, data.test_targets)


def test_mnist(shared_data):
    data = mnist(str(shared_data))
    assert data.train_inputs.shape == (60000, 1, 28, 28)
    assert data.train_targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert torch.bincount(data.train_targets).min() == 5421
    assert data.test_targets[:3].tolist() == [7, 2, 1]


def test_fashion_mnist(shared_data):
    data = fashion_mnist(str(shared_data))
    assert torch.bincount(data.test_targets).tolist() == [1000] * 10
    assert data.class_names[9] == "Ankle boot"


def test_cifar10_from_local_files(tmp_path, monkeypatch):
    """The published file format, with one image a batch; torchvision's checksums are those of the real files."""
    import pickle

    import torchvision

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.arange(3072, dtype=np.uint32).astype(np.uint8)[None]
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [3]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    data = cifar10(str(tmp_path))
    assert data.train_inputs.shape == (5, 3, 32, 32)
    assert data.train_inputs[0, 0, 0, :3].tolist() == [0, 1, 2]
    assert data.train_inputs[0, 1, 0, 0].item() == 1024 % 256
    assert data.test_targets.tolist() == [3]


@pytest.mark.parametrize("load", [mnist, fashion_mnist, cifar10])
def test_no_files_and_no_network_names_the_root(tmp_path, monkeypatch, load):
    import socket

    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ValueError, match=r"dataset\.root=.* must hold .* downloading it failed"):
        load(str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


def test_tiny_imagenet(shared_data, tmp_path):
    data = tiny_imagenet(str(shared_data / "tiny-imagenet-20"), cache=str(tmp_path))
    assert data.train_inputs.shape == (2000, 3, 64, 64)
    assert data.test_inputs.shape == (1000, 3, 64, 64)
    assert torch.bincount(data.train_targets).tolist() == [100] * 20
    assert torch.bincount(data.test_targets).tolist() == [50] * 20
    assert data.class_names[0] == "Egyptian cat"
    file = (shared_data / "tiny-imagenet-20/val/val_annotations.txt").read_text().split("\t")[0]
    with Image.open(shared_data / "tiny-imagenet-20/val/images" / file) as image:
        assert torch.equal(data.test_inputs[0], torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


def test_tiny_imagenet_layout_made_small(tmp_path):
    (tmp_path / "wnids.txt").write_text("n2\nn1\n")
    (tmp_path / "words.txt").write_text("n1\tcat, feline\nn2\tdog\n")
    for name, colour in (("n1", (10, 0, 0)), ("n2", (20, 0, 0))):
        photograph(tmp_path / "train" / name / "images" / f"{name}_0.png", colour, (64, 64))
    photograph(tmp_path / "val" / "images" / "val_0.png", (10, 10, 10), (64, 64), "L")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.png\tn1\t0\t0\t1\t1\n")
    (tmp_path / "test" / "images").mkdir(parents=True)
    data = tiny_imagenet(str(tmp_path))
    assert data.class_names == ("dog", "cat")
    assert data.train_inputs[:, 0, 0, 0].tolist() == [20, 10]
    assert data.test_targets.tolist() == [1]
    assert data.test_inputs[0, :, 0, 0].tolist() == [10, 10, 10]


def test_image_folder(folder):
    data = image_folder(str(folder), 4)
    assert data.class_names == ("cat", "dog")
    assert data.train_inputs.shape == (6, 3, 4, 4)
    assert data.train_targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_inputs[3, :, 0, 0].tolist() == [100, 0, 0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "test" / "dog").rename(root / "test" / "wolf"), r"differ in \['dog', 'wolf'\]"),
        (lambda root: (root / "train" / "cat" / "1.png").write_bytes(b"\x89PNG"), r"image .*1\.png cannot be read"),
        (lambda root: (root / "train").rename(root / "training"), "no .*train"),
        (lambda root: [path.unlink() for path in (root / "train" / "cat").iterdir()], "cat must hold images"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        image_folder(str(folder), 4)


def test_one_class_is_refused(tmp_path):
    for part in ("train", "val"):
        photograph(tmp_path / part / "cat" / "0.png")
    with pytest.raises(ValueError, match="holds one class only, cat"):
        image_folder(str(tmp_path), 4)


def test_a_truncated_jpeg_is_refused_by_name(tmp_path):
    photograph(tmp_path / "whole.jpg", size=(64, 64))
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:400])
    with pytest.raises(ValueError, match=r"half\.jpg cannot be read"):
        decode([tmp_path / "half.jpg"], 64, None)


def test_the_cache_is_read_and_follows_the_files(folder, tmp_path):
    cache = tmp_path / "cache"
    files = sorted((folder / "train" / "dog").iterdir())
    first = decode(files, 4, str(cache))
    assert len(list(cache.iterdir())) == 1
    first[0] = 0  # copy-on-write: the file does not change
    assert decode(files, 4, str(cache))[0, 0, 0, 0] == 100
    photograph(files[0], (7, 7, 7), (9, 9))
    assert decode(files, 4, str(cache))[0, 0, 0, 0] == 7
    assert len(list(cache.iterdir())) == 2


def test_a_failed_decoding_leaves_no_cache(folder, tmp_path):
    files = sorted((folder / "train" / "dog").iterdir())
    files[2].write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"2\.png"):
        decode(files, 4, str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []
