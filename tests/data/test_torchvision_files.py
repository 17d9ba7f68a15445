"""Files of torchvision's data sets: missing, damaged, or no files at all."""

import os

import pytest

from normlab.data.images import cifar10, fashion_mnist, mnist


def no_network(*arguments, **options):
    raise OSError("no network")


@pytest.mark.parametrize("load", [mnist, fashion_mnist, cifar10])
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
    ],
)
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path, load, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"{path} must be a regular file"):
        load(str(tmp_path))
