"""Classes that parts lack, classes that are numbers, and classes matched by name."""

import pytest
import torch

from normlab.data.blocks import Part
from normlab.data.classes import class_cautions, match_classes
from normlab.data.encoding import Encoder
from normlab.data.parts import Parts
from normlab.data.transforms import Unchanged


def parts_of(train, validation, test, names=("a", "b", "c"), **options):
    """Parts with these classes; training and validation share their tensors."""
    shared = torch.tensor([*train, *validation])
    inputs = torch.zeros(len(shared), 1)
    rows = torch.arange(len(shared))
    plain = Unchanged()
    return Parts(
        train=Part(inputs, shared, rows[: len(train)], plain),
        validation=Part(inputs, shared, rows[len(train) :], plain),
        test=Part(
            torch.zeros(len(test), 1), torch.tensor(test), rows[: len(test)], plain
        ),
        input_shape=(1,),
        num_outputs=len(names),
        class_names=names,
        **options,
    )


def test_complete_parts_cause_no_caution():
    parts = parts_of([0, 1, 2], [2, 1, 0], [1, 0, 2])
    assert class_cautions(parts, "classification") == []
    assert class_cautions(parts_of([0], [1], [2]), "regression") == []


def test_scored_parts_of_one_class_cause_a_caution():
    caution = (
        "the test part holds one class only: "
        "its accuracy does not show that classes are told apart"
    )
    parts = parts_of([0, 1], [0, 1], [1, 1])
    assert class_cautions(parts, "classification") == [caution]
    parts = parts_of([0, 1], [1, 1], [0, 1])
    assert class_cautions(parts, "classification") == [
        caution.replace("test", "validation")
    ]


@pytest.mark.parametrize(
    ("labels", "caution"),
    [
        (
            ([0, 1], [0, 1, 2], [0, 1, 2]),
            "the training part lacks classes that another part has, so the network "
            "cannot learn them: c",
        ),
        (
            ([0, 1, 2], [0, 1], [0, 1, 2]),
            "the validation part lacks classes that another part has, so its scores "
            "say nothing of them: c",
        ),
        (
            ([0, 1, 2], [0, 1, 2], [2, 1, 2]),
            "the test part lacks classes that another part has, so its scores say "
            "nothing of them: a",
        ),
    ],
)
def test_a_part_that_lacks_classes_causes_a_caution(labels, caution):
    assert class_cautions(parts_of(*labels), "classification") == [caution]


def test_classes_without_names_are_numbered_and_many_shortened():
    labels = list(range(9))
    parts = parts_of(labels, labels, [0, 8], names=())
    (caution,) = class_cautions(parts, "classification")
    assert caution.endswith("its scores say nothing of them: 1, 2, 3, 4, 5, ...")


def numbered(names, per_class=20, encoder=None):
    labels = list(range(len(names))) * per_class
    encoder = Encoder(()) if encoder is None else encoder
    parts = parts_of(labels, labels[:40], labels[:40], tuple(names), encoder=encoder)
    return class_cautions(parts, "classification")


def test_many_numbers_as_classes_cause_a_caution():
    caution = (
        "the 11 classes are numbers: each is learned for itself, and near ones are as "
        "wrong as far ones; dataset.task=regression predicts numbers"
    )
    assert numbered([f"{number / 8}" for number in range(11)]) == [caution]
    whole = [str(number) for number in range(11)]
    assert numbered(whole, per_class=1) == [caution]
    assert numbered(whole) == []
    assert numbered([*whole, "x"], per_class=1) == []
    assert numbered([f"{number / 2}" for number in range(10)]) == []


def test_classes_in_another_order_are_matched_by_name():
    parts = parts_of([0, 1, 2, 0], [2, 1], [1], ("a", "b", "c"))
    matched = match_classes(parts, ["c", "x", "a", "b"], "the other")
    assert matched.train.targets.tolist() == [2, 3, 0, 2, 0, 3]
    assert matched.train.targets is matched.validation.targets
    assert matched.test.targets.tolist() == [3]
    assert (matched.class_names, matched.num_outputs) == (("c", "x", "a", "b"), 4)
    assert parts.train.targets.tolist() == [0, 1, 2, 0, 2, 1]
    assert match_classes(parts, ["a", "b", "c"], "the other") is parts


def test_unknown_classes_are_refused_by_name():
    parts = parts_of([0, 1], [2, 1], [1], ("neg", "abnormal", "x"))
    message = (
        "^dataset=csv has classes that the run does not know: abnormal, x; "
        "it knows neg, pos$"
    )
    with pytest.raises(ValueError, match=message):
        match_classes(parts, ["neg", "pos"], "dataset=csv")


def test_a_name_without_samples_need_not_be_known():
    parts = parts_of([0, 1], [0, 1], [1], ("a", "b", "unused"))
    assert match_classes(parts, ["b", "a"], "it").test.targets.tolist() == [0]


@pytest.mark.parametrize(
    ("own", "other"), [(("a", "a"), ("a", "b")), (("a", "b"), ("a", "a"))]
)
def test_names_that_come_twice_are_refused(own, other):
    parts = parts_of([0, 1], [0, 1], [1], own)
    with pytest.raises(ValueError, match="it and the run must name every class once"):
        match_classes(parts, other, "it")
