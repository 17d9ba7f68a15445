"""Files of torchvision's data sets: missing, damaged, or no files at all."""

import os
import pickle

import numpy as np
import pytest
import scipy.io
import torchvision

from normlab.data.images import cifar10, cifar100, fashion_mnist, kmnist, mnist, svhn


def no_network(*arguments, **options):
    raise OSError("no network")


@pytest.mark.parametrize(
    "load", [mnist, fashion_mnist, kmnist, cifar10, cifar100, svhn]
)
def test_a_failed_download_names_the_root(tmp_path, monkeypatch, load):
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(
        ValueError, match=r"dataset\.root=.* must hold .* downloading it failed"
    ):
        load(str(tmp_path / "nothing" / "here"))
    assert not (tmp_path / "nothing").exists()


def test_a_failed_download_keeps_other_folders(tmp_path, monkeypatch):
    (tmp_path / "mine" / "empty").mkdir(parents=True)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(ValueError, match="downloading it failed"):
        mnist(str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "empty"]


def idx(folder, labels, num_images):
    """MNIST's files with black images: magic number, sizes, bytes."""
    folder.mkdir(parents=True)
    for part, count in (("train", num_images), ("t10k", 2)):
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + bytes(count * 784))
        values = labels if part == "train" else [0, 1]
        head = b"".join(number.to_bytes(4, "big") for number in (0x801, len(values)))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(head + bytes(values))


@pytest.mark.parametrize(
    ("labels", "num_images", "message"),
    [
        (
            [3, 77, 1],
            3,
            r"MNIST in dataset\.root=.*training part: "
            r"labels must lie in 0\.\.9 .*sample 1 has 77",
        ),
        ([3, 7], 3, "every image must have a label, there are 3 and 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, num_images, message):
    idx(tmp_path / "MNIST" / "raw", labels, num_images)
    with pytest.raises(ValueError, match=message):
        mnist(str(tmp_path))


def test_a_truncated_idx_file_is_reported_as_damaged(tmp_path):
    idx(tmp_path / "MNIST" / "raw", [3, 7, 1], 3)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"MNIST in dataset\.root=.* is damaged .*; replace MNIST/raw/"
    ):
        mnist(str(tmp_path))


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("load", "file"),
    [
        (mnist, "MNIST/raw/train-images-idx3-ubyte"),
        (fashion_mnist, "FashionMNIST/raw/t10k-labels-idx1-ubyte"),
        (cifar10, "cifar-10-batches-py/data_batch_1"),
        (cifar100, "cifar-100-python/train"),
        (svhn, "test_32x32.mat"),
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path, load, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"{path} must be a regular file"):
        load(str(tmp_path))


def test_cifar100_has_its_fine_classes(tmp_path, monkeypatch):
    """The published format with three images; its checksums are not checked."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = np.arange(3 * 3072, dtype=np.uint32).astype(np.uint8).reshape(3, 3072)
    for name in ("train", "test"):
        content = {
            "data": pixels,
            "fine_labels": [0, 99, 7],
            "coarse_labels": [1, 2, 3],
        }
        (folder / name).write_bytes(pickle.dumps(content))
    names = [f"class {number}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    data = cifar100(str(tmp_path))
    assert data.train_targets.tolist() == [0, 99, 7]
    assert data.train_inputs[1, 2, 0, :2].tolist() == [0, 1]  # 3072 + 2048 = 20 * 256
    assert data.class_names == tuple(names)


def test_a_changed_file_of_cifar100_is_never_unpickled(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(
            b"cos\nmkdir\n(S'" + bytes(tmp_path) + b"/ran'\ntR."
        )
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(ValueError, match="downloading it failed"):
        cifar100(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_svhn_calls_the_digit_zero_zero(tmp_path, monkeypatch):
    """In its files that class is 10, and the samples are the last axis."""
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 3, 2), dtype=np.uint8)
    for name in ("train", "test"):
        content = {"X": pixels, "y": np.array([[10], [3]], np.uint8)}
        scipy.io.savemat(tmp_path / f"{name}_32x32.mat", content)
    monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda *_: True)
    data = svhn(str(tmp_path))
    assert data.train_targets.tolist() == [0, 3]
    assert data.train_inputs.shape == (2, 3, 32, 32)
    assert data.train_inputs[1, 2, 5, 9] == pixels[5, 9, 2, 1]
    assert data.class_names[0] == "0"


def test_kmnist_has_its_own_folder_and_classes(tmp_path):
    idx(tmp_path / "KMNIST" / "raw", [3, 7, 9], 3)
    data = kmnist(str(tmp_path))
    assert data.train_targets.tolist() == [3, 7, 9]
    assert data.class_names[7] == "ya"
