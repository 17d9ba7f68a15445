"""From a configuration to parts: which samples they hold and how they are prepared."""

import re

import pytest
import torch
from omegaconf import OmegaConf

from normlab.data.arrays import Arrays
from normlab.data.blocks import Part
from normlab.data.parts import Parts, load_parts, normalization
from normlab.data.transforms import Unchanged

ROWS = [f"{number},{'ab'[number % 2]},{10 * number}" for number in range(1, 11)]


@pytest.fixture
def table(tmp_path, compose):
    def config(rows=ROWS, *overrides):
        path = tmp_path / "table.csv"
        path.write_text("\n".join(["size,kind,price", *rows]) + "\n")
        words = [
            "dataset=csv",
            f"dataset.root={path}",
            "dataset.target=price",
            "dataset.num_folds=2",
            *overrides,
        ]
        return OmegaConf.to_container(compose(*words), resolve=True)

    return config


def test_a_table_is_standardized_by_its_training_part_alone(table):
    parts = load_parts(table(), None)
    sizes = [
        number
        for number in range(1, 11)
        if 10 * number in parts.train.targets[parts.train.rows].tolist()
    ]
    mean = sum(sizes) / len(sizes)
    std = (sum((size - mean) ** 2 for size in sizes) / len(sizes)) ** 0.5
    for part in (parts.train, parts.validation, parts.test):
        for inputs, target in zip(
            part.inputs[part.rows], part.targets[part.rows], strict=True
        ):
            assert inputs[0].item() == pytest.approx(
                (target.item() / 10 - mean) / std, abs=1e-6
            )
            assert inputs[1:].tolist() == (
                [1.0, 0.0] if target.item() / 10 % 2 == 0 else [0.0, 1.0]
            )
    assert (parts.input_shape, parts.num_outputs) == ((3,), 1)


def test_every_row_is_in_one_part(table):
    parts = load_parts(table(), None)
    rows = [parts.train, parts.validation, parts.test]
    assert sorted(
        value for part in rows for value in part.targets[part.rows].tolist()
    ) == list(range(10, 101, 10))
    assert [len(part) for part in rows] == [4, 1, 5]


def test_categories_of_no_training_row_are_reported(table, capsys):
    load_parts(table([*ROWS[:-1], "10,new,100"], "dataset.fold=0"), None)
    first = capsys.readouterr().err
    load_parts(table([*ROWS[:-1], "10,new,100"], "dataset.fold=1"), None)
    second = capsys.readouterr().err
    note = (
        "note: these categories of kind are in no training row "
        "and are encoded as zeros: new\n"
    )
    assert [note in first, note in second].count(True) == 1


def test_another_table_is_encoded_like_the_first(table):
    parts = load_parts(table(), None)
    rows = [f"{100 * number},{'ab'[number % 2]},{number}" for number in range(1, 11)]
    other = load_parts(table(rows), None, parts.encoder)
    first = other.test.inputs[0, 0].item()
    scaler = parts.encoder.columns[0].steps[-1]
    assert first == pytest.approx(
        (100 * other.test.targets[0].item() - scaler.mean_[0]) / scaler.scale_[0]
    )


def test_columns_constant_in_training_are_constant_everywhere(table, capsys):
    """Only row 7 has another size, and it is in the test part of the fold."""
    rows = [
        f"{100_000 if number == 7 else 3},{'ab'[number % 2]},{10 * number}"
        for number in range(1, 11)
    ]
    (parts,) = [
        parts
        for fold in (0, 1)
        if 70.0
        in (
            parts := load_parts(table(rows, f"dataset.fold={fold}"), None)
        ).test.targets.tolist()
    ]
    assert all(
        part.inputs.abs().max() == 1
        for part in (parts.train, parts.validation, parts.test)
    )
    note = (
        "note: these columns have one value in all training rows "
        "and are treated as constant: size\n"
    )
    assert capsys.readouterr().err.count(note) == 1


@pytest.mark.parametrize("value", ["5.0", "7.7"])
def test_a_constant_target_of_the_training_part_is_refused(table, value):
    rows = [
        f"{number},{'ab'[number % 2]},{50 if number == 7 else value}"
        for number in range(1, 11)
    ]
    number = value.removesuffix(".0")
    refused = (
        rf"table.csv: target price is {number} in all 4 samples of the training part; "
        "there is"
    )
    caught = []
    for fold in (0, 1):
        try:
            load_parts(table(rows, f"dataset.fold={fold}"), None)
        except ValueError as error:
            caught.append(str(error))
    assert [bool(re.search(refused, message)) for message in caught] == [True]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "dataset.normalize=imagenet",
            "must be one of train, none, robust, quantile for a table, got 'imagenet'",
        ),
        (
            "dataset.normalize=[0.5,0.5]",
            r"must be one of train, .* for a table, got \[0.5, 0.5\]",
        ),
        (
            "dataset.image_size=64",
            "dataset.image_size must be null for a table, got 64",
        ),
        (
            "+dataset.augment.flip=true",
            "dataset.augment must be empty for a table, got {'flip': True}",
        ),
    ],
)
def test_a_table_refuses_what_only_images_have(table, override, message):
    with pytest.raises(ValueError, match=message):
        load_parts(table(ROWS, override), None)


def test_too_few_rows_name_the_file(table):
    with pytest.raises(
        ValueError,
        match=r"table.csv \(2 rows\): "
        r"dataset.validation=0.2 of 1 sample leaves an empty",
    ):
        load_parts(table(["1,a,2", "2,a,3"], "dataset.drop=[kind]"), None)


def test_a_training_part_of_one_class_is_refused(compose, monkeypatch):
    images, labels = torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.full((20,), 3)
    monkeypatch.setattr(
        "normlab.data.images.digits",
        lambda: Arrays(images, labels, images, labels, tuple("0123")),
    )
    config = OmegaConf.to_container(compose("dataset.num_classes=4"), resolve=True)
    with pytest.raises(
        ValueError,
        match="training part must hold two classes at least, "
        "all 16 samples are of class 3",
    ):
        load_parts(config, 8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dataset.num_classes=5"],
            r"labels must lie in 0\.\.4 \(dataset.num_classes=5\), "
            r"the training part has 9",
        ),
        (
            ["dataset.num_classes=1"],
            "dataset.num_classes must be null or a whole number of at least 2, got 1",
        ),
        (
            ["dataset=diabetes", "dataset.num_classes=3"],
            "dataset.num_classes must be null for a regression, got 3",
        ),
        (
            ["dataset=diabetes", "dataset.split=stratified"],
            r"diabetes \(442 rows\): dataset.split=stratified needs two samples "
            r"of every number of the target",
        ),
    ],
)
def test_classes_that_the_data_do_not_have_are_refused(compose, words, message):
    config = OmegaConf.to_container(compose(*words), resolve=True)
    with pytest.raises(ValueError, match=message):
        load_parts(config, None if "dataset=diabetes" in words else 8)


def images(labels, names="0123", num_validation=0):
    """Images of 8 x 8 pixels; the test part has one of each class."""
    labels = torch.tensor(labels)
    test = torch.arange(len(names))
    train_images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    train_images[:, :, 0] = 255
    test_images = torch.zeros(len(test), 1, 8, 8, dtype=torch.uint8)
    names = tuple(names)
    return Arrays(train_images, labels, test_images, test, names, num_validation)


@pytest.fixture
def digits_config(compose, monkeypatch):
    def config(arrays, *words):
        monkeypatch.setattr("normlab.data.images.digits", lambda: arrays)
        return OmegaConf.to_container(
            compose("dataset.num_classes=null", *words), resolve=True
        )

    return config


def test_a_tail_of_samples_sorted_by_class_is_refused(digits_config):
    config = digits_config(images([0] * 10 + [1] * 10), "dataset.split=tail")
    message = (
        r"digits \(24 images\): dataset.split=tail takes the last samples for "
        "validation, but the samples are sorted by class, .*; use "
        "dataset.split=stratified"
    )
    with pytest.raises(ValueError, match=message):
        load_parts(config, 8)
    del config["dataset"]["name"]  # a data set of one's own need not have it
    with pytest.raises(
        ValueError, match="the data set .24 images.: dataset.split=tail"
    ):
        load_parts(config, 8)


def test_a_tail_of_shuffled_samples_is_taken(digits_config):
    config = digits_config(images([0, 1] * 10), "dataset.split=tail")
    assert load_parts(config, 8).validation.rows.tolist() == [16, 17, 18, 19]


def test_published_validation_samples_validate(digits_config):
    arrays = images([0] * 5 + [1] * 5 + [0, 1, 1], "01", num_validation=3)
    parts = load_parts(digits_config(arrays, "dataset.split=tail"), 8)
    assert parts.train.rows.tolist() == list(range(10))
    assert parts.validation.rows.tolist() == [10, 11, 12]


def test_parts_know_the_names_of_their_classes(table, digits_config):
    assert load_parts(digits_config(images([0, 1] * 10)), 8).class_names == tuple(
        "0123"
    )
    words = ["dataset.target=kind", "dataset.task=classification"]
    assert load_parts(table(ROWS, *words), None).class_names == ("a", "b")
    assert load_parts(table(), None).class_names == ()


def test_tensors_that_parts_share_are_moved_once():
    stored, targets, plain = torch.zeros(4, 1), torch.zeros(4), Unchanged()
    train, validation = (
        Part(stored, targets, torch.tensor(rows), plain) for rows in ([0, 1], [2, 3])
    )
    test = Part(torch.ones(2, 1), torch.zeros(2), torch.arange(2), plain)
    moved = Parts(train, validation, test, (1,), 1).to(torch.device("meta"))
    assert moved.train.inputs is moved.validation.inputs
    assert moved.train.targets is moved.validation.targets
    assert moved.test.inputs is not moved.train.inputs
    assert {
        tensor.device.type
        for part in moved.by_name.values()
        for tensor in (part.inputs, part.targets, part.rows)
    } == {"meta"}
    assert moved.to(torch.device("meta")).train.inputs is moved.train.inputs


def test_a_full_device_is_reported_with_advice(monkeypatch):
    part = Part(torch.zeros(2**18, 2), torch.zeros(2), torch.arange(2), Unchanged())

    def full(*arguments):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate ...\nmore lines"
        )

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(
        ValueError,
        match=r"the data \(2 MiB\) must fit into the memory of meta, .*device=cpu",
    ) as error:
        Parts(part, part, part, (2,), 1).to(torch.device("meta"))
    assert "\n" not in str(error.value)


def test_imagenet_statistics_need_three_channels():
    grey = Arrays(
        *[torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)]
        * 2
    )
    with pytest.raises(
        ValueError,
        match="dataset.normalize=imagenet needs images with 3 channels, these have 1",
    ):
        normalization(grey, torch.arange(1), "imagenet")
    assert normalization(grey, torch.arange(1), [0.5, 0.25]) == ((0.5,), (0.25,))


@pytest.mark.parametrize(
    "rule", ["mean", "[0.5]", "[0.5, 0]", "3", "[[1,2],[1]]", "[[1],[0]]"]
)
def test_other_normalizations_are_refused(rule, compose):
    from normlab.config.rules import check

    config = OmegaConf.to_container(compose(f"dataset.normalize={rule}"), resolve=True)
    with pytest.raises(
        ValueError, match="dataset.normalize must be train, none, mnist, .* or \\[mean"
    ):
        check(config)


def test_published_statistics_and_those_of_channels():
    colour = Arrays(
        *[torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)]
        * 2
    )
    mean, std = normalization(colour, torch.arange(1), "cifar10")
    assert (mean[0], std[2]) == (0.4914, 0.2616)
    rule = [[0.1, 0.2, 0.3], [1, 2, 3]]
    assert normalization(colour, torch.arange(1), rule) == ((0.1, 0.2, 0.3), (1, 2, 3))
    with pytest.raises(ValueError, match="normalize=mnist needs images with 1 channel"):
        normalization(colour, torch.arange(1), "mnist")


@pytest.mark.parametrize("rule", ["robust", "quantile"])
def test_images_refuse_what_only_tables_take(rule):
    grey = Arrays(
        *[torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)]
        * 2
    )
    message = f"normalize must be train, none, .* mnist, .* for images, got {rule}$"
    with pytest.raises(ValueError, match=message):
        normalization(grey, torch.arange(1), rule)


def test_a_trial_uses_few_samples_spread_over_each_part(compose):
    config = OmegaConf.to_container(compose("trainer.max_samples=50"), resolve=True)
    parts = load_parts(config, 8)
    full = load_parts(
        config | {"trainer": config["trainer"] | {"max_samples": None}}, 8
    )
    for name, part in parts.by_name.items():
        rows = full.by_name[name].rows
        assert len(part.rows) == 50
        assert part.rows[0] == rows[0]
        assert set(part.rows.tolist()) <= set(rows.tolist())
        assert part.rows[-1] == rows[49 * len(rows) // 50]
