import pytest
import torch

from normlab.models.weights import (
    check_architecture,
    shared_input,
    untrained_cautions,
    weights_from_file,
    with_counters,
)


def test_state_dicts_come_back_bare_or_from_a_checkpoint(tmp_path):
    state = {"weight": torch.tensor([1.0, 2.0])}
    torch.save(state, tmp_path / "bare.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    for name in ("bare.pth", "checkpoint.pth"):
        assert weights_from_file(tmp_path / name)["weight"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "content",
    [
        b"not weights",
        b"hello",
        b"",
        b"a,b\n1,2\n",
        b"}.",
        b"K\x01.",
        b"\x89PNG\r\n",
        bytes(100),
    ],
    ids=repr,
)
def test_files_that_are_not_weights_are_refused(tmp_path, content):
    """Each file makes torch.load raise a different exception."""
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(
        ValueError,
        match=r"pretrained=.*file\.pth is not a weights file that torch\.save wrote",
    ) as error:
        weights_from_file(tmp_path / "file.pth")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, not a state dict of tensors"),
        ({"a": 1}, "holds dict, not a state dict of tensors"),
        ({0: torch.zeros(2)}, "holds dict, not a state dict of tensors"),
        (
            {"a": torch.zeros(2), "b": torch.tensor([1.0, torch.nan])},
            r"file\.pth: b holds values that are not finite",
        ),
        (
            {"a": torch.tensor([1]), "b": torch.tensor(torch.inf)},
            r"file\.pth: b holds values that are not finite",
        ),
    ],
)
def test_files_of_other_objects_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=message):
        weights_from_file(tmp_path / "file.pth")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"must be false, true or the path of a weights file; .* is no file",
    ):
        weights_from_file(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"must be false, true or the path of a weights file; 1 is no file",
    ):
        weights_from_file(1)


def test_frozen_random_weights_cause_a_caution():
    (caution,) = untrained_cautions({"freeze": "features", "pretrained": False})
    assert caution.startswith(
        "model.freeze=features with model.pretrained=false keeps random weights "
        "as they are"
    )
    for model in (
        {"freeze": "features", "pretrained": "file.pth"},
        {"freeze": None, "pretrained": False},
        {},
    ):
        assert untrained_cautions(model) == []


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_file_with_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="is not a weights file"):
        weights_from_file(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


def test_exact_refuses_unexpected_tensors():
    expected = {"a": torch.zeros(2)}
    check_architecture(
        {"a": torch.ones(2), "b": torch.ones(3)}, expected, "net", "f.pth"
    )
    with pytest.raises(
        ValueError,
        match=r"pretrained=f\.pth: not the weights of net, which has no b \(3,\)",
    ):
        check_architecture(
            {"a": torch.ones(2), "b": torch.ones(3)},
            expected,
            "net",
            "f.pth",
            exact=True,
        )
    with pytest.raises(
        ValueError,
        match=r"pretrained=true: not the weights of net: a \(2,\) is missing",
    ):
        check_architecture({}, expected, "net", True)


def test_counters_that_are_not_stored_are_those_of_the_network():
    own = {"weight": 0, "num_batches_tracked": 1, "a.num_batches_tracked": 2}
    assert with_counters({"weight": 5, "a.num_batches_tracked": 6}, own) == {
        "weight": 5,
        "num_batches_tracked": 1,
        "a.num_batches_tracked": 6,
    }


def test_input_weights_are_summed_and_divided():
    weight = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
    assert shared_input(weight, 1).flatten().tolist() == [9.0]
    assert shared_input(weight, 2).flatten().tolist() == [4.5, 4.5]
    assert shared_input(weight, 3) is weight
