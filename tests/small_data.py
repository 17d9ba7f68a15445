"""Writes the files of published data sets with a handful of made-up samples."""

import pickle
from pathlib import Path

import numpy as np
from PIL import Image

PER_CLASS = 20  # training samples; there is one test sample per class


def write_small_data(folder: Path) -> None:
    """Write MNIST, Fashion-MNIST, CIFAR-10, Tiny-ImageNet, arrays and two tables."""
    random = np.random.default_rng(0)
    for name in ("MNIST", "FashionMNIST"):
        _idx(folder / name / "raw", random)
    _cifar(folder / "cifar-10-batches-py", random)
    _tiny_imagenet(folder / "tiny-imagenet-200", random)
    (folder / "table.csv").write_text(_table(random))
    (folder / "jh-simple-dataset.csv").write_text(_jh_simple())
    images = random.integers(256, size=(40, 8, 8), dtype=np.uint8)
    labels = np.tile(np.arange(4), 10)
    np.savez(
        folder / "arrays.npz",
        x_train=images[:32],
        y_train=labels[:32],
        x_test=images[32:],
        y_test=labels[32:],
    )


def _idx(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part, count in (("train", PER_CLASS), ("t10k", 1)):
        labels = np.tile(np.arange(10, dtype=np.uint8), count)
        images = random.integers(256, size=(len(labels), 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            magic = 0x800 + array.ndim  # bytes, and how many axes
            head = b"".join(
                number.to_bytes(4, "big") for number in (magic, *array.shape)
            )
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())


def _cifar(folder: Path, random: np.random.Generator) -> None:
    folder.mkdir()
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        labels = list(range(10)) * (1 if name == "test_batch" else PER_CLASS // 5)
        pixels = random.integers(256, size=(len(labels), 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": list("abcdefghij")})
    )


def _tiny_imagenet(folder: Path, random: np.random.Generator) -> None:
    ids = [f"n{number}" for number in range(4)]
    files = [
        folder / "train" / name / "images" / f"{name}_{n}.png"
        for name in ids
        for n in range(PER_CLASS // 4)
    ]
    for file in [*files, *(folder / "val" / "images" / f"{name}.png" for name in ids)]:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(
            file
        )
    (folder / "wnids.txt").write_text("\n".join(ids))
    lines = [f"{name}.png\t{name}\t0\t0\t63\t63" for name in ids]
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines))


def _table(random: np.random.Generator) -> str:
    lines = ["size,colour,age,price"]
    for n, size in enumerate(random.standard_normal(100)):
        colour = "red" if size > 0 else "blue"
        age = "" if n % 9 == 0 else n
        lines.append(f"{size:.3f},{colour},{age},{3 * size:.3f}")
    return "\n".join(lines)


def _jh_simple() -> str:
    columns = (
        "id,job,area,income,aspect,subscriptions,dist_healthy,save_rate,dist_unhealthy,"
        "age,pop_dense,retail_dense,crime,product"
    )
    return "\n".join([columns, *(_jh_simple_row(n) for n in range(1, 101))])


def _jh_simple_row(n: int) -> str:
    income = "NA" if n % 10 == 3 else 50_000 + n
    return (
        f"{n},job{n % 6},{'abcd'[n % 4]},{income},{n % 11},{n % 5},{n / 7},{n % 6},"
        f"{n % 13},{40 + n % 20},{n % 9},{n % 8},{n % 3 / 3},{'bc'[n % 2]}"
    )
