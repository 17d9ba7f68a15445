import pytest
import torch

from normlab.models.weights import check_architecture, shared_input, weights_from_file


def test_state_dicts_come_back_bare_or_from_a_checkpoint(tmp_path):
    state = {"weight": torch.tensor([1.0, 2.0])}
    torch.save(state, tmp_path / "bare.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    for name in ("bare.pth", "checkpoint.pth"):
        assert weights_from_file(tmp_path / name)["weight"].tolist() == [1.0, 2.0]


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"text\.pth is not a weights file that torch\.save wrote"):
        weights_from_file(tmp_path / "text.pth")
    with pytest.raises(ValueError, match="holds list, not a state dict of tensors"):
        weights_from_file(tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"must be false, true or the path of a weights file; .* is no file"):
        weights_from_file(tmp_path)


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_file_with_code_is_refused_unread(tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="is not a weights file"):
        weights_from_file(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_exact_refuses_what_is_not_expected():
    expected = {"a": torch.zeros(2)}
    check_architecture({"a": torch.ones(2), "b": torch.ones(3)}, expected, "net")
    with pytest.raises(ValueError, match=r"not the weights of net, which has no b \(3,\)"):
        check_architecture({"a": torch.ones(2), "b": torch.ones(3)}, expected, "net", exact=True)


def test_shared_input():
    weight = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
    assert shared_input(weight, 1).flatten().tolist() == [9.0]
    assert shared_input(weight, 2).flatten().tolist() == [4.5, 4.5]
    assert shared_input(weight, 3) is weight
