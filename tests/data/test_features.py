"""Cached features equal what the frozen layers compute of these weights and images."""

from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.data import features
from normlab.data.blocks import Part
from normlab.data.features import FeatureTransform, can_be_computed_once, with_features
from normlab.data.parts import Parts
from normlab.data.transforms import ImageTransform, Unchanged
from normlab.training.preparation import prepare

CPU = torch.device("cpu")


class Halves(nn.Module):
    """Features: `factor` times the means of the left and right half of an image."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.frozen = True
        self.features = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.features.weight, factor)

    def extract(self, x):
        left, right = x.mean((1, 2)).unflatten(1, (2, -1)).mean(2).unbind(1)
        return torch.stack([left, right], 1) * self.features.weight


def parts(images=None, **augment):
    if images is None:
        images = (
            torch.tensor([[0, 255], [255, 255], [51, 102]], dtype=torch.uint8)
            .view(3, 1, 1, 2)
            .expand(3, 1, 2, 2)
        )
    targets, rows = torch.tensor([0, 1, 1]), torch.tensor([0, 2])
    plain = ImageTransform((0.0,), (1.0,), 2)
    return Parts(
        Part(images, targets, rows, ImageTransform((0.0,), (1.0,), 2, **augment)),
        Part(images, targets, torch.tensor([1]), plain),
        Part(images.flip(0), targets, torch.arange(3), plain),
        (1, 2, 2),
        2,
    )


def test_features_take_the_place_of_images(tmp_path):
    made = with_features(parts(), Halves(), tmp_path, CPU)
    torch.testing.assert_close(
        made.train.inputs[:, 0], torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.2, 0.4]])
    )
    assert made.test.inputs[:, 0].tolist() == made.train.inputs[:, 0].flip(0).tolist()
    assert made.train.rows.tolist() == [0, 2]
    assert made.validation.rows.tolist() == [1]
    assert made.train.inputs.shape == (3, 1, 2)


def test_only_samples_that_are_used_are_computed(tmp_path, monkeypatch):
    computed = []
    extract = Halves.extract

    def counted(self, x):
        computed.append(len(x))
        return extract(self, x)

    monkeypatch.setattr(Halves, "extract", counted)
    whole = parts()
    few = replace(
        whole,
        validation=replace(whole.validation, rows=torch.tensor([2])),
        test=replace(whole.test, rows=torch.tensor([1])),
    )
    made = with_features(few, Halves(), tmp_path, CPU)
    # One image for the shape, then rows 0 and 2 for training, and row 1 of the test.
    assert computed == [1, 2, 1, 1]
    assert made.train.rows.tolist() == [0, 2]
    expected = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.2, 0.4]])
    torch.testing.assert_close(made.train.inputs[:, 0], expected)
    assert made.test.inputs[1, 0].tolist() == [1.0, 1.0]
    with_features(few, Halves(), tmp_path, CPU)
    assert computed == [1, 2, 1, 1, 1, 1]  # the shapes; the rest is cached


def test_limits_of_epochs_stay(tmp_path):
    whole = parts()
    limited = replace(whole, train=replace(whole.train, limit=1))
    made = with_features(limited, Halves(), tmp_path, CPU)
    assert len(made.train) == 1
    assert len(made.test) == 3


def test_mirrored_images_are_a_second_view(tmp_path):
    made = with_features(parts(flip=True), Halves(), tmp_path, CPU)
    stored = made.train.inputs[:1].expand(2, 2, 2)
    picked = made.train.transform.train(stored, {"flip": torch.tensor([False, True])})
    assert picked.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert made.train.transform.evaluate(stored).tolist() == [[0.0, 1.0]] * 2
    assert made.validation.transform == FeatureTransform(flip=False)
    assert made.test.inputs.shape == (3, 1, 2)


def test_features_are_computed_once(tmp_path, monkeypatch):
    first = with_features(parts(), Halves(), tmp_path, CPU).train.inputs
    monkeypatch.setattr(features, "_fill", lambda *_: pytest.fail("computed again"))
    assert torch.equal(
        with_features(parts(), Halves(), tmp_path, CPU).train.inputs, first
    )


@pytest.mark.parametrize("change", ["weights", "images", "transform"])
def test_another_input_is_computed_again(change, tmp_path):
    with_features(parts(), Halves(), tmp_path, CPU)
    before = len(list(tmp_path.glob("features-*.npy")))
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8) if change == "images" else None
    other = with_features(
        parts(images, flip=change == "transform"),
        Halves(3 if change == "weights" else 1),
        tmp_path,
        CPU,
    )
    if change == "weights":
        assert other.train.inputs[1, 0].tolist() == [3.0, 3.0]
    if change == "images":
        assert other.train.inputs[1, 0].tolist() == [0.0, 0.0]
    assert len(list(tmp_path.glob("features-*.npy"))) > before


def test_features_need_frozen_layers_and_constant_images():
    network = Halves()
    assert can_be_computed_once(network, parts(flip=True))
    assert not can_be_computed_once(network, parts(crop_padding=1))
    assert not can_be_computed_once(network, parts(resized_crop=(0.5, 1.0)))
    assert not can_be_computed_once(nn.Linear(2, 2), parts())
    table = parts()
    table = Parts(
        Part(table.train.inputs, table.train.targets, table.train.rows, Unchanged()),
        None,
        None,
        (2,),
        2,
    )
    assert not can_be_computed_once(network, table)


def test_a_frozen_alexnet_gives_the_same_with_the_cache(compose, tmp_path):
    words = [
        "model=alexnet",
        "model.freeze=features",
        "model.norm_at=[head]",
        "model.hidden=[8]",
        "norm=custom",
    ]

    def prepared(cached):
        config = compose(
            *words,
            f"cache_features={cached}",
            f"paths.outputs={tmp_path}",
            "dataset.batch_size=8",
        )
        return prepare(OmegaConf.to_container(config, resolve=True))

    with_cache, without = prepared("true"), prepared("false")
    assert with_cache.parts.train.inputs.shape[2:] == (9216,)
    assert with_cache.flops < without.flops / 100
    # The weights are random.
    assert [caution.partition(" with ")[0] for caution in without.cautions] == [
        "model.freeze=features"
    ]
    network = without.task.network.eval()
    images, stored = without.parts.test, with_cache.parts.test
    expected = network(images.transform.evaluate(images.inputs[:4]))
    found = with_cache.task.network.eval()(stored.transform.evaluate(stored.inputs[:4]))
    torch.testing.assert_close(found, expected)
