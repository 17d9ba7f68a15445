"""A data set from a file of arrays: parts and layouts."""

import re

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.numpy import save_file

from normlab.data.array_sets import arrays, sample_shape
from normlab.data.encoding import TabularData
from normlab.data.parts import load_parts

random = np.random.default_rng(0)
IMAGES = random.integers(256, size=(6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(folder, **content):
    np.savez(folder / "arrays.npz", **content)
    return str(folder / "arrays.npz")


def folder_of(folder, **content):
    for name, array in content.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def published(**others):
    content = {"x_train": IMAGES, "y_train": LABELS}
    return content | {"x_test": IMAGES[:2], "y_test": LABELS[:2]} | others


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("train-inputs", "train-targets", "test-inputs", "test-targets"),
        ("xtrain", "ytrain", "xtest", "ytest"),
    ],
)
def test_the_usual_names_are_found(tmp_path, names):
    content = dict(zip(names, published().values(), strict=True))
    data = arrays(npz(tmp_path, **content))
    assert data.train_inputs.shape == (6, 3, 5, 4)
    assert data.train_inputs[4, 2, 1, 3] == IMAGES[4, 1, 3, 2]
    assert data.test_targets.tolist() == [0, 1]
    assert data.class_names == ("0", "1", "2")


def test_names_may_be_given(tmp_path):
    root = npz(tmp_path, a=IMAGES, b=LABELS, c=IMAGES[:1], d=LABELS[2:3], x=IMAGES)
    data = arrays(root, arrays=["a", "b", "c", "d"])
    assert data.test_targets.tolist() == [2]
    with pytest.raises(ValueError, match=r"dataset.arrays must name .*among a, b.*'e'"):
        arrays(root, arrays=["a", "e"])
    with pytest.raises(ValueError, match=r"holds a, b, c, d, x; name the inputs"):
        arrays(root)


def test_a_published_validation_part_validates(tmp_path):
    root = npz(tmp_path, **published(val_images=IMAGES[4:], val_labels=LABELS[4:]))
    data = arrays(root)
    assert data.num_validation == 2
    assert data.train_targets.tolist() == [*LABELS, 1, 2]
    assert torch.equal(data.train_inputs[6:], data.train_inputs[4:6])


def test_validation_without_test_is_the_test_part(tmp_path, capsys):
    content = {"x_train": IMAGES, "y_train": LABELS}
    root = npz(tmp_path, **content, x_val=IMAGES[4:], y_val=LABELS[4:])
    assert arrays(root).test_targets.tolist() == [1, 2]
    assert "its validation part is the test part" in capsys.readouterr().err


def test_a_test_part_is_used_whatever_training_is_called(tmp_path):
    content = {"x_test": IMAGES[:2], "y_test": LABELS[:2]}
    data = arrays(npz(tmp_path, x=IMAGES, y=LABELS, **content))
    assert data.train_targets.tolist() == LABELS.tolist()
    assert data.test_targets.tolist() == [0, 1]


def test_folds_take_the_place_of_a_test_part(tmp_path):
    root = npz(tmp_path, x=np.arange(6, dtype=np.uint8)[:, None, None], y=LABELS)
    found = []
    for fold in range(3):
        data = arrays(root, fold=fold, num_folds=3)
        found += data.test_inputs.flatten().tolist()
        assert LABELS[data.test_inputs.flatten()].tolist() == data.test_targets.tolist()
    assert sorted(found) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((2, 5, 4), None, [1, 5, 4]),
        ((2, 3, 8, 8), None, [3, 8, 8]),
        ((2, 8, 8, 4), None, [4, 8, 8]),
        ((2, 9, 8, 8), "first", [9, 8, 8]),
        ((2, 3, 8, 3), "last", [3, 3, 8]),
        ((2, 7), None, None),
    ],
)
def test_the_shape_follows_from_the_head(tmp_path, shape, channels, expected):
    root = npz(tmp_path, x=np.zeros(shape), y=np.zeros(2))
    assert sample_shape(root, channels=channels, task="regression") == expected


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 9, 8, 8)])
def test_an_unclear_axis_of_channels_must_be_named(tmp_path, shape):
    root = npz(tmp_path, x=np.zeros(shape), y=np.zeros(2))
    with pytest.raises(ValueError, match="set dataset.channels=first or last"):
        sample_shape(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"y_train": np.arange(6) / 4},
            "must be whole numbers or texts, .*0.25;",
        ),
        ({"y_train": LABELS[:5]}, "it has 6 samples, and y_train 5 targets"),
        ({"x_test": IMAGES[:2, :, :3]}, "samples of all parts must have one shape"),
        ({"x_test": IMAGES[:2].astype(float)}, "must have one shape and type"),
        ({"x_train": np.zeros(6)}, r"must have the shape \(N, F\) of vectors"),
        ({"y_train": np.ones((6, 3))}, r"with a single 1 in every row, they have"),
        ({"x_train": IMAGES.astype("U3")}, "x_train must hold numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        arrays(npz(tmp_path, **published(**content)))


def test_vectors_are_a_table(tmp_path):
    vectors = random.normal(size=(6, 3)).astype(np.float32)
    root = npz(tmp_path, x_train=vectors, y_train=LABELS, x_test=vectors, y_test=LABELS)
    data = arrays(root)
    assert isinstance(data, TabularData)
    encoded = data.encode(data.fit(torch.arange(6), "train"))
    expected = (vectors - vectors.mean(0)) / vectors.std(0)
    np.testing.assert_allclose(encoded.train_inputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.float32, np.inf), (np.float16, -np.inf), (np.float64, 1e39)],
)
def test_numbers_that_are_too_large_are_refused(tmp_path, dtype, value):
    vectors = np.zeros((6, 3), dtype)
    root = npz(tmp_path, x_train=vectors, y_train=LABELS, x_test=vectors, y_test=LABELS)
    assert isinstance(arrays(root), TabularData)
    wrong = vectors.copy()
    wrong[4, 1] = value
    root = npz(tmp_path, x_train=vectors, y_train=LABELS, x_test=wrong, y_test=LABELS)
    found = re.escape(f"row 4 has {value} in column 1,")
    with pytest.raises(ValueError, match=f"array x_test must hold numbers .*{found}"):
        arrays(root)


def test_nan_in_vectors_is_a_missing_value(tmp_path):
    vectors = np.array([[0.0], [1], [np.nan], [3], [4], [5]])
    root = npz(tmp_path, x_train=vectors, y_train=LABELS, x_test=vectors, y_test=LABELS)
    data = arrays(root)
    encoded = data.encode(data.fit(torch.arange(6)))
    assert encoded.train_inputs.flatten().tolist() == [0, 1, 3, 3, 4, 5]


def test_images_may_have_numbers_to_predict(tmp_path):
    targets = np.array([1.5, 2, 3, 4, 5, 6])
    root = npz(tmp_path, **published(y_train=targets, y_test=targets[:2]))
    assert arrays(root, task="regression").train_targets.tolist() == targets.tolist()
    with pytest.raises(ValueError, match="must be finite"):
        arrays(npz(tmp_path, **published(y_train=targets * np.nan)), task="regression")


@pytest.fixture
def config(compose):
    def composed(root, *overrides):
        words = ["dataset=arrays", f"dataset.root={root}", *overrides]
        return OmegaConf.to_container(compose(*words), resolve=True)

    return composed


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16])
def test_mapped_images_are_standardized_whatever_their_type(tmp_path, config, dtype):
    images = (IMAGES.astype(np.float64) - (0 if dtype == np.uint8 else 100)).astype(
        dtype
    )
    content = {"x_train": images, "y_train": np.array([0, 1] * 3)}
    root = folder_of(tmp_path, **content, x_test=images, y_test=content["y_train"])
    parts = load_parts(config(root, "dataset.validation=0.34"), 4)
    assert parts.input_shape == (3, 4, 4)
    rows = parts.train.rows.numpy()
    values = images.astype(np.float64).transpose(0, 3, 1, 2)
    mean = values[rows].mean((0, 2, 3), keepdims=True)
    std = values[rows].std((0, 2, 3), keepdims=True)
    expected = torch.from_numpy((values - mean) / std)
    whole = parts.train.transform
    found = whole._normalize(parts.train.inputs.index_select(0, torch.arange(6)))
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "mean", "std"),
    [
        ("none", 0, 1),
        ("[2,4]", 2, 4),
        ("[[1,2,3],[2,2,2]]", [1, 2, 3], 2),
    ],
)
def test_other_rules_are_in_the_units_of_the_images(tmp_path, config, rule, mean, std):
    images = IMAGES.astype(np.float32)
    content = {"x_train": images, "y_train": np.array([0, 1] * 3)}
    root = folder_of(tmp_path, **content, x_test=images, y_test=content["y_train"])
    words = ("dataset.validation=0.34", f"dataset.normalize={rule}")
    parts = load_parts(config(root, *words), 4)
    found = parts.train.transform._normalize(parts.train.inputs[:2])
    expected = ((images[:2] - np.array(mean)) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_images_that_are_not_finite_are_refused(tmp_path, config):
    images = IMAGES.astype(np.float32)
    images[:, 0, 0, 1] = np.inf
    content = {"x_train": images, "y_train": np.array([0, 1] * 3)}
    root = folder_of(tmp_path, **content, x_test=images, y_test=content["y_train"])
    with pytest.raises(ValueError, match="must hold finite numbers only"):
        load_parts(config(root, "dataset.validation=0.34"), 4)


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_what_is_mapped_is_known(tmp_path, kind):
    content = published()
    if kind == "npy":
        root = folder_of(tmp_path, **content)
    elif kind == "npz":
        root = npz(tmp_path, **content)
    else:
        root = str(tmp_path / "arrays.safetensors")
        save_file(content, root)
    data = arrays(root)
    assert data.is_mapped == (kind != "npz")
    assert data.train_inputs[4, 2, 1, 3] == IMAGES[4, 1, 3, 2]


def test_copies_are_not_mapped(tmp_path):
    columns_first = np.asfortranarray(IMAGES)
    root = folder_of(tmp_path, **published(x_train=columns_first))
    data = arrays(root)
    assert not data.is_mapped
    assert data.train_inputs[4, 2, 1, 3] == IMAGES[4, 1, 3, 2]
    content = published(x_train=IMAGES.astype(">i4"), x_test=IMAGES[:2].astype(">i4"))
    assert not arrays(folder_of(tmp_path, **content)).is_mapped
