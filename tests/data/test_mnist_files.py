"""MNIST in the layouts in which people have it."""

import gzip
import shutil

import numpy as np
import pytest

from normlab.data.images import fashion_mnist, kmnist, mnist

random = np.random.default_rng(0)
IMAGES = random.integers(256, size=(5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 1, 3], np.uint8)
TORCHVISIONS = "{part}-{kind}-idx{axes}-ubyte"


def idx(array):
    sizes = (0x800 + array.ndim, *array.shape)
    return b"".join(size.to_bytes(4, "big") for size in sizes) + array.tobytes()


def write_idx(folder, pattern=TORCHVISIONS, packed=False, test="t10k"):
    """Write four files; the test part has the first two images."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 5), (test, 2)):
        for kind, array in (("images", IMAGES), ("labels", LABELS)):
            name = pattern.format(part=part, kind=kind, axes=array.ndim)
            content = idx(array[:count])
            if packed:
                content = gzip.compress(content)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def check(data):
    assert data.train_inputs.shape == (5, 1, 28, 28)
    assert np.array_equal(data.train_inputs[:, 0], IMAGES)
    assert np.array_equal(data.test_inputs[:, 0], IMAGES[:2])
    assert data.train_targets.tolist() == LABELS.tolist()
    assert data.test_targets.tolist() == [3, 0]


@pytest.mark.parametrize("folder", [".", "raw", "mnist", "MNIST", "MNIST/raw"])
@pytest.mark.parametrize(
    ("pattern", "packed", "test"),
    [
        (TORCHVISIONS, False, "t10k"),
        (TORCHVISIONS + ".gz", True, "t10k"),
        ("{part}-{kind}.idx{axes}-ubyte", False, "t10k"),
        ("{part}_{kind}.gz", True, "test"),
        ("{part}-{kind}-idx{axes}-ubyte/{part}-{kind}-idx{axes}-ubyte", False, "t10k"),
    ],
    ids=["raw", "gz", "dots", "short", "folders"],
)
def test_idx_files_in_usual_places(tmp_path, folder, pattern, packed, test):
    write_idx(tmp_path / folder, pattern, packed, test)
    data = mnist(str(tmp_path))
    check(data)
    assert data.class_names == tuple("0123456789")


@pytest.mark.parametrize("root", [".", "mnist.npz"])
def test_the_file_of_keras(tmp_path, root):
    np.savez(
        tmp_path / "mnist.npz",
        x_train=IMAGES,
        y_train=LABELS,
        x_test=IMAGES[:2],
        y_test=LABELS[:2],
    )
    check(mnist(str(tmp_path / root)))


@pytest.mark.parametrize("has_names", [True, False])
def test_csv_files(tmp_path, has_names):
    for part, count in (("train", 5), ("test", 2)):
        lines = ["label," + ",".join(f"pixel{n}" for n in range(784))] * has_names
        for label, image in zip(LABELS[:count], IMAGES, strict=False):
            lines.append(",".join(map(str, [label, *image.flatten()])))
        (tmp_path / f"fashion-mnist_{part}.csv").write_text("\n".join(lines))
    data = fashion_mnist(str(tmp_path))
    check(data)
    assert data.class_names[9] == "Ankle boot"


def test_files_of_another_name_are_left_alone(tmp_path, monkeypatch):
    """MNIST and Fashion-MNIST often lie side by side in one folder."""
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    write_idx(tmp_path / "FashionMNIST" / "raw")
    with pytest.raises(ValueError, match="must hold MNIST/raw/ .*downloading it fail"):
        mnist(str(tmp_path))
    write_idx(tmp_path / "kmnist", TORCHVISIONS + ".gz", packed=True)
    check(kmnist(str(tmp_path)))


def no_network(*arguments, **options):
    raise OSError("no network")


def test_an_incomplete_layout_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    write_idx(tmp_path, TORCHVISIONS + ".gz", packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        ValueError,
        match=r"downloading it failed .*found t10k-images-idx3-ubyte.gz, train-images",
    ):
        mnist(str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "must be an idx file of bytes"),
        (lambda content: b"\0\0\x0d" + content[3:], "must be an idx file of bytes"),
        (lambda content: content[:4] + b"\xff" * 8, "must be an idx file of bytes"),
        (lambda content: b"", "must be an idx file of bytes"),
        (lambda content: idx(IMAGES[:4]), r"\(4, 28, 28\) and \(5,\)"),
        (lambda content: idx(IMAGES[:, :9]), r"\(5, 9, 28\) and \(5,\)"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, damage, message):
    write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"train-images-idx3-ubyte.*{message}"):
        mnist(str(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: content[:10] + b"\xff" * 20 + content[30:],
    ],
    ids=["short", "changed"],
)
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    write_idx(tmp_path, TORCHVISIONS + ".gz", packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match="is damaged .*; replace .*images-idx3-ubyte.gz"
    ):
        mnist(str(tmp_path))


def test_a_part_without_images_is_refused(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:0]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:0]))
    message = r"t10k-images.*: there must be images .*\(0, 28, 28\) and \(0,\)"
    with pytest.raises(ValueError, match=message):
        mnist(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype(str), "labels must be whole numbers, they are <U"),
        (LABELS.astype(float), "labels must be whole numbers, they are float64"),
        (LABELS[0], r"the shapes \(5, 28, 28\) and \(\)"),
    ],
)
def test_other_labels_are_refused(tmp_path, labels, message):
    content = {"x_train": IMAGES, "x_test": IMAGES[:2], "y_test": LABELS[:2]}
    np.savez(tmp_path / "mnist.npz", y_train=labels, **content)
    with pytest.raises(ValueError, match=message):
        mnist(str(tmp_path))


def test_labels_out_of_range_are_refused(tmp_path):
    write_idx(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.array([3, 0, 77, 1, 3], np.uint8)))
    with pytest.raises(ValueError, match=r"labels must be whole numbers in 0..9 .*77"):
        mnist(str(tmp_path))


def test_images_of_another_data_set_are_refused(tmp_path, shared_data):
    for path in (shared_data / "FashionMNIST" / "raw").iterdir():
        shutil.copy(path, tmp_path / path.name)
    assert len(fashion_mnist(str(tmp_path)).train_targets) == 60_000
    with pytest.raises(ValueError, match="the labels are those of FashionMNIST"):
        mnist(str(tmp_path))
