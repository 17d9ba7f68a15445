import pickle

import pytest
import torch

from normlab.checkpoints import LAST, PREVIOUS, cut_logs, load, load_latest, random_state, save, set_random_state


def test_what_is_saved_is_loaded(tmp_path):
    save(tmp_path / LAST, {"network": {"weight": torch.arange(3.0)}, "epoch": 2, "best": [1.5, None]})
    state = load(tmp_path / LAST)
    assert state["network"]["weight"].tolist() == [0.0, 1.0, 2.0]
    assert (state["epoch"], state["best"]) == (2, [1.5, None])


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"no checkpoint at all"],
    ids=["truncated", "empty", "other"],
)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(tmp_path, damage):
    save(tmp_path / PREVIOUS, {"epoch": 1})
    save(tmp_path / LAST, {"epoch": 2})
    (tmp_path / LAST).write_bytes(damage((tmp_path / LAST).read_bytes()))
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read"):
        load(tmp_path / LAST)
    warnings = []
    assert load_latest(tmp_path, warnings.append) == {"epoch": 1}
    assert "last.ckpt" in warnings[0]


def test_one_flipped_bit_in_a_tensor_is_noticed(tmp_path):
    save(tmp_path / LAST, {"weight": torch.full((1000,), 1.5)})
    content = bytearray((tmp_path / LAST).read_bytes())
    position = content.index(torch.full((4,), 1.5).numpy().tobytes()) + 100
    content[position] ^= 1
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(ValueError, match="does not match its checksum|Bad CRC"):
        load(tmp_path / LAST)


def test_nothing_to_go_on_from(tmp_path):
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


def test_logs_go_back_to_where_the_checkpoint_was(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    (tmp_path / "statistics.csv").write_text("later")
    (tmp_path / "events.out.tfevents.1").write_bytes(b"12345")
    cut_logs(tmp_path, {"metrics.csv": 8, "events.out.tfevents.1": 5})
    assert (tmp_path / "metrics.csv").read_text() == "epoch\n1\n"
    assert (tmp_path / "events.out.tfevents.1").read_bytes() == b"12345"
    assert not (tmp_path / "statistics.csv").exists()


def test_random_numbers_go_on_where_they_were():
    state = random_state()
    first = torch.rand(3)
    set_random_state(state)
    assert torch.equal(first, torch.rand(3))
