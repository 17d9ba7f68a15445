"""Data sets of Hugging Face in folders: what is read, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from normlab.data.hugging_face import hugging_face  # noqa: E402

random = np.random.default_rng(0)
PIXELS = random.integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
LABELS = [1, 0, 1, 0, 1, 0]


@pytest.fixture(autouse=True)
def cache_of_this_test_only(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_parquet(folder, label=None, **labels_by_split):
    """Write splits as the hub has them, and return their folder."""
    label = label or datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"picture": datasets.Image(), "kind": label})
    folder.mkdir()
    for name, labels in labels_by_split.items():
        pictures = [{"bytes": png(image), "path": None} for image in PIXELS]
        content = {"picture": pictures[: len(labels)], "kind": labels}
        table = pyarrow.table(content, schema=features.arrow_schema)
        parquet.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return str(folder)


def save_to_disk(folder, **names_and_labels):
    """Store splits with class names of their own, and return their folder."""
    splits = {}
    for split, (names, labels) in names_and_labels.items():
        kind = datasets.ClassLabel(names=names)
        features = datasets.Features({"picture": datasets.Image(), "kind": kind})
        pictures = [{"bytes": png(image), "path": None} for image in PIXELS]
        content = {"picture": pictures[: len(labels)], "kind": labels}
        splits[split] = datasets.Dataset.from_dict(content, features)
    datasets.DatasetDict(splits).save_to_disk(folder)
    return str(folder)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def check(data, num_test):
    assert data.train_inputs.shape == (6, 3, 8, 8)
    assert data.train_inputs[4, 2, 5, 1] == PIXELS[4, 5, 1, 2]
    assert data.train_targets.tolist() == LABELS
    assert data.test_targets.tolist() == LABELS[:num_test]
    assert data.class_names == ("cat", "dog")


def test_a_folder_of_parquet_files(tmp_path):
    root = write_parquet(tmp_path / "set", train=LABELS, test=LABELS[:2])
    check(hugging_face(root, 8), 2)


def test_a_folder_of_save_to_disk_with_cached_images(tmp_path):
    root = write_parquet(tmp_path / "files", train=LABELS, validation=LABELS[:3])
    datasets.load_dataset(root).save_to_disk(tmp_path / "set")
    for _ in range(2):
        data = hugging_face(str(tmp_path / "set"), 8, cache=str(tmp_path / "images"))
        check(data, 3)
    assert len(list((tmp_path / "images").glob("images-*.npy"))) == 2


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (["dog", "cat"], [0, 1, 1], [1, 0, 0]),
        (["dog"], [0, 0], [1, 1]),
        (["dog", "fox", "cat"], [0, 2, 2], [1, 0, 0]),  # no row is a fox
    ],
)
def test_classes_of_a_split_are_found_by_name(tmp_path, names, labels, expected):
    train = (["cat", "dog"], LABELS)
    root = save_to_disk(tmp_path / "set", train=train, test=(names, labels))
    data = hugging_face(root, 8)
    assert data.class_names == ("cat", "dog")
    assert data.train_targets.tolist() == LABELS
    assert data.test_targets.tolist() == expected


def test_classes_without_training_images_are_refused(tmp_path):
    train = (["cat", "dog"], LABELS)
    root = save_to_disk(tmp_path / "set", train=train, test=(["dog", "fox"], [0, 1]))
    message = r"\(split test\) must have the classes .*, cat, dog; it also has fox$"
    with pytest.raises(ValueError, match=message):
        hugging_face(root, 8)


def test_a_split_without_a_column_is_refused(tmp_path):
    train = (["cat", "dog"], LABELS)
    root = save_to_disk(tmp_path / "a", train=train, test=train)
    splits = datasets.load_from_disk(root)
    splits["test"] = splits["test"].remove_columns("kind")
    splits.save_to_disk(tmp_path / "b")
    message = r"target must name a column of .*\(split test\), got kind; it has picture"
    with pytest.raises(ValueError, match=message):
        hugging_face(str(tmp_path / "b"), 8)


@pytest.mark.parametrize("kind", [None, datasets.Value("string")])
def test_a_missing_label_is_named_by_its_row(tmp_path, kind):
    labels = [1, 0, None] if kind is None else ["dog", "cat", None]
    root = write_parquet(tmp_path / "set", label=kind, train=labels, test=labels[:2])
    message = r"\(split train\): every row must have a label, kind is empty in row 2,"
    with pytest.raises(ValueError, match=message):
        hugging_face(root, 8, target="kind")


def test_a_damaged_file_is_explained_by_its_cause(tmp_path):
    root = write_parquet(tmp_path / "set", train=LABELS, test=LABELS[:2])
    path = tmp_path / "set" / "train-00000-of-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    message = "can load as data: (?!An error occurred while generating)"
    with pytest.raises(ValueError, match=message):
        hugging_face(root, 8)


def test_a_folder_of_images(tmp_path):
    for part, count in (("train", 6), ("test", 2)):
        for index in range(count):
            name = ["cat", "dog"][LABELS[index]]
            path = tmp_path / "set" / part / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[index]).save(path)
    data = hugging_face(str(tmp_path / "set"), 8)
    assert data.class_names == ("cat", "dog")
    assert sorted(data.train_targets.tolist()) == sorted(LABELS)
    row = data.train_targets.tolist().index(1)
    assert data.train_inputs[row, 0, 2, 3] == PIXELS[0, 2, 3, 0]


def test_without_a_test_split_a_fold_is_the_test_part(tmp_path):
    root = write_parquet(tmp_path / "set", train=LABELS)
    found = []
    for fold in range(3):
        data = hugging_face(root, 8, fold=fold, num_folds=3)
        found += data.test_inputs[:, 0, 0, 0].tolist()
    assert sorted(found) == sorted(PIXELS[:, 0, 0, 0].tolist())


def test_texts_are_classes_too(tmp_path):
    names = ["dog", "cat", "dog", "cat", "dog", "cat"]
    kind = datasets.Value("string")
    root = write_parquet(tmp_path / "set", label=kind, train=names, test=names)
    data = hugging_face(root, 8, target="kind")
    assert (data.class_names, data.test_targets.tolist()) == (("cat", "dog"), LABELS)


def test_other_columns_and_splits_are_refused(tmp_path):
    root = write_parquet(tmp_path / "set", train=LABELS, test=[-1, -1])
    with pytest.raises(ValueError, match="dataset.inputs must name a column .*'x'|x;"):
        hugging_face(root, 8, inputs="x")
    with pytest.raises(ValueError, match="inputs=kind must be a column of images"):
        hugging_face(root, 8, inputs="kind")
    with pytest.raises(ValueError, match="split dataset.test=val, it has train, test"):
        hugging_face(root, 8, test="val")
    with pytest.raises(ValueError, match="kind is -1 where the label is not published"):
        hugging_face(root, 8)


def test_a_loading_script_is_never_run(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    script = f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n"
    (folder / "set.py").write_text(script)
    for root in (folder, folder / "set.py"):
        with pytest.raises(ValueError, match="can load as data"):
            hugging_face(str(root), 8)
    assert not (tmp_path / "ran").exists()


def test_other_readers_are_refused(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="it is read by text, but only arrow"):
        hugging_face(str(folder), 8)


def test_a_name_that_cannot_be_reached_is_explained(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="nobody/nothing must be a folder, or a data"):
        hugging_face("nobody/nothing", 8)
