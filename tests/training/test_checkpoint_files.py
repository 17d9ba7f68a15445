"""What is stored is read back, and what is damaged or foreign is not."""

import errno
import pickle

import pytest
import torch

from normlab.endings import NoResult
from normlab.training.checkpoint_files import (
    LAST,
    PREVIOUS,
    load,
    load_latest,
    save,
    without_neighbours,
)
from training.states import make_task, stored_state


@pytest.fixture
def folder(tmp_path):
    """The folder `checkpoints` of a run called `some-run`."""
    path = tmp_path / "some-run" / "checkpoints"
    path.mkdir(parents=True)
    return path


def state(epoch):
    return stored_state(make_task(), epoch)


def test_a_saved_state_is_loaded(tmp_path):
    save(
        tmp_path / LAST,
        {"network": {"weight": torch.arange(3.0)}, "epoch": 2, "best": [1.5, None]},
    )
    state = load(tmp_path / LAST)
    assert state["network"]["weight"].tolist() == [0.0, 1.0, 2.0]
    assert (state["epoch"], state["best"]) == (2, [1.5, None])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"no checkpoint at all",
    ],
    ids=["truncated", "empty", "other"],
)
def test_instead_of_a_damaged_checkpoint_the_previous_is_used(folder, damage):
    save(folder / PREVIOUS, state(1))
    save(folder / LAST, state(2))
    (folder / LAST).write_bytes(damage((folder / LAST).read_bytes()))
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
        load(folder / LAST)
    warnings = []
    found = load_latest(folder, warn=warnings.append)
    assert found["read_from"] == PREVIOUS
    assert found["progress"]["epoch"] == 1
    assert len(warnings) == 1
    assert "last.ckpt" in warnings[0]


def test_with_two_damaged_checkpoints_a_run_starts_again(
    folder,
):
    for name in (LAST, PREVIOUS):
        (folder / name).write_bytes(b"nothing")
    warnings = []
    assert load_latest(folder, warn=warnings.append) is None
    assert [
        word in text
        for word, text in zip(
            (LAST, PREVIOUS, "starts from the beginning"), warnings, strict=True
        )
    ] == [True] * 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (state(5) | {"run": "another-run"}, "last.ckpt is of the run another-run"),
        (
            {"network": {"weight": torch.zeros(2)}},
            "last.ckpt is not the state of a run",
        ),
        ([1, 2], "last.ckpt is not the state of a run"),
    ],
    ids=["another run", "weights", "list"],
)
def test_a_run_is_not_resumed_from_a_foreign_state(folder, other, message):
    save(folder / PREVIOUS, state(1))
    save(folder / LAST, other)
    warnings = []
    assert load_latest(folder, warn=warnings.append)["progress"]["epoch"] == 1
    assert message in warnings[0]


def test_one_flipped_bit_in_a_tensor_is_noticed(tmp_path):
    save(tmp_path / LAST, {"weight": torch.full((1000,), 1.5)})
    content = bytearray((tmp_path / LAST).read_bytes())
    position = content.index(torch.full((4,), 1.5).numpy().tobytes()) + 100
    content[position] ^= 1
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(ValueError, match="does not match its checksum|Bad CRC"):
        load(tmp_path / LAST)


def test_without_checkpoints_there_is_no_state(tmp_path):
    assert load_latest(tmp_path) is None


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"network": Hostile()}, tmp_path / LAST)
    with pytest.raises(ValueError, match="tensors and plain types"):
        load(tmp_path / LAST)
    (tmp_path / LAST).write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="cannot be read"):
        load(tmp_path / LAST)
    assert not (tmp_path / "written").exists()


def test_no_flipped_bit_changes_what_is_loaded(tmp_path):
    """A bit of the archive's own records has no checksum; it may change nothing."""
    stored = {
        "weight": torch.linspace(-1, 1, 64),
        "step": 12345,
        "names": ["first", "second"],
    }
    save(tmp_path / LAST, stored)
    intact, refused = (tmp_path / LAST).read_bytes(), 0
    for bit in torch.randperm(
        8 * len(intact), generator=torch.Generator().manual_seed(0)
    )[:300].tolist():
        content = bytearray(intact)
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / LAST).write_bytes(content)
        try:
            found = load(tmp_path / LAST)
        except ValueError:
            refused += 1
            continue
        assert torch.equal(found.pop("weight"), stored["weight"])
        assert found == {"step": 12345, "names": ["first", "second"]}
    assert refused > 50


def test_a_part_of_a_larger_memory_is_stored_by_itself(tmp_path):
    memory = torch.arange(1000.0)
    state = {"network": {"weight": memory[:2]}, "averages": [memory[2:4]], "steps": 3}
    copied = without_neighbours(state)
    for tensor in (copied["network"]["weight"], copied["averages"][0]):
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    save(tmp_path / LAST, state)
    loaded = load(tmp_path / LAST)
    assert loaded["network"]["weight"].tolist() == [0.0, 1.0]
    assert loaded["averages"][0].tolist() == [2.0, 3.0]
    assert loaded["steps"] == 3
    assert state["network"]["weight"].data_ptr() == memory.data_ptr()


def test_a_tensor_by_itself_is_not_copied():
    tensor = torch.zeros(3)
    assert without_neighbours({"weight": tensor})["weight"] is tensor


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
def test_what_says_nothing_of_a_checkpoint_does_not_condemn_it(
    tmp_path, monkeypatch, error
):
    def fail(*arguments, **options):
        raise error

    save(tmp_path / LAST, {"epoch": 1})
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(type(error)):
        load(tmp_path / LAST)


def test_a_lack_of_memory_does_not_let_a_run_begin_again(folder, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    save(folder / LAST, state(1))
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(NoResult, match=r"last\.ckpt cannot be read now \(MemoryErr"):
        load_latest(folder)
