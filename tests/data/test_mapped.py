"""Images that stay on disk give the same batches as images in memory."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from normlab.data import mapped
from normlab.data.blocks import EvaluationBlocks, Part, Progress, TrainBlocks
from normlab.data.mapped import exceeds_memory, gather, memory_limit, read_ahead
from normlab.data.parts import load_parts
from normlab.data.transforms import ImageTransform

IMAGES = np.random.default_rng(0).integers(256, size=(50, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(params=["channels last", "channels first"])
def images(request, tmp_path):
    """Images mapped from a file, as float or bytes, in both layouts."""
    array = IMAGES
    if request.param == "channels first":
        array = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
    np.save(tmp_path / "images.npy", array)
    array = np.load(tmp_path / "images.npy", mmap_mode="c")
    if request.param == "channels last":
        array = array.transpose(0, 3, 1, 2)
    return torch.from_numpy(array)


def test_rows_are_gathered_in_any_order(images):
    rows = torch.tensor([7, 0, 49, 7])
    read_ahead(images, rows)
    found = gather(images, rows)
    assert np.array_equal(found, IMAGES[rows.numpy()].transpose(0, 3, 1, 2))


def test_the_system_is_asked_for_whole_runs_of_rows(images, monkeypatch):
    """In ranges that begin with a page and end with a row."""
    asked = []

    def advise(address, length, advice):
        asked.append((address.value, address.value + length.value))

    monkeypatch.setattr(mapped, "_madvise", lambda: advise)
    read_ahead(images, torch.tensor([12, 40, 11, 13, 3]))
    start, row = images.data_ptr(), 8 * 8 * 3
    ends = [(end - start) // row for _, end in asked]
    assert ends == [4, 14, 41]
    for (begin, _), first in zip(asked, (3, 11, 40), strict=True):
        assert begin % mapped.mmap.PAGESIZE == 0
        assert 0 <= start + first * row - begin < mapped.mmap.PAGESIZE


def part(images, augmented=True):
    transform = ImageTransform(
        (0.5,) * 3, (0.25,) * 3, 8, flip=augmented, crop_padding=2 * augmented
    )
    targets = torch.arange(50)
    rows = torch.arange(0, 50, 2)
    return Part(images, targets, rows, transform)


def test_blocks_from_disk_are_those_from_memory(images):
    stored = part(images)
    for which in (stored, stored.left_on_disk()):
        blocks = list(TrainBlocks(which, 4, 0, Progress(), max_steps=2))
        if which is stored:
            expected = blocks
    assert len(blocks) == 3
    for block, other in zip(blocks, expected, strict=True):
        assert torch.equal(block.inputs, other.inputs)
        assert torch.equal(block.targets, other.targets)
    plain = part(images, augmented=False)
    (block,) = EvaluationBlocks(plain.left_on_disk())
    (other,) = EvaluationBlocks(plain)
    assert torch.equal(block.inputs, other.inputs)


def test_inputs_on_disk_stay_on_the_cpu(images):
    moved = part(images).left_on_disk().to(torch.device("meta"))
    assert moved.inputs is images
    assert moved.targets.device.type == moved.rows.device.type == "meta"


def test_the_limit_is_the_smallest_of_the_groups(tmp_path, monkeypatch):
    files = []
    for name, text in (("a", "max"), ("b", "5000\n"), ("c", "70000")):
        (tmp_path / name).write_text(text)
        files.append(tmp_path / name)
    files.append(tmp_path / "missing")
    monkeypatch.setattr(mapped, "_limit_files", lambda: files)
    assert memory_limit() == 5000
    tensors = [torch.zeros(1250, dtype=torch.uint8)] * 2
    assert not exceeds_memory(tensors)
    assert exceeds_memory([*tensors, torch.zeros(1, dtype=torch.uint8)])


def test_without_groups_the_limit_is_the_memory(monkeypatch):
    monkeypatch.setattr(mapped, "_limit_files", list)
    assert memory_limit() > 2**28


def test_a_set_that_exceeds_the_memory_stays_on_disk(
    tmp_path, compose, monkeypatch, capsys
):
    for name, count in (("train", 50), ("test", 10)):
        np.save(tmp_path / f"x_{name}.npy", IMAGES[:count])
        np.save(tmp_path / f"y_{name}.npy", np.arange(count) % 2)
    config = compose("dataset=arrays", f"dataset.root={tmp_path}")
    config = OmegaConf.to_container(config, resolve=True)
    expected = load_parts(config, 8)
    assert not expected.train.on_disk
    monkeypatch.setattr(mapped, "memory_limit", lambda: 20_000)
    parts = load_parts(config, 8)
    assert "stay on disk" in capsys.readouterr().err
    for found, other in zip(
        parts.by_name.values(), expected.by_name.values(), strict=True
    ):
        assert found.on_disk
        rows = found.rows[:3]
        assert torch.equal(found.evaluation_inputs(rows), other.evaluation_inputs(rows))
