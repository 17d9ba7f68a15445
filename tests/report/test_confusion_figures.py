"""Figures of what each arm takes its classes for."""

import numpy as np
from compare.helpers import write_run

from normlab.compare import compare, load_runs
from normlab.report.confusion_figures import draw_confusions

MATRICES = {"none": [[6, 4], [2, 8]], "custom": [[9, 1], [0, 10]]}


def comparison_of(folder, matrices, classes=("cat", "dog")):
    for norm, matrix in matrices.items():
        scores = {"test": {"confusion_matrix": matrix}}
        result = {"scores": scores, "classes": list(classes)}
        for seed in range(2):
            write_run(folder, norm, seed, 0.8 + 0.01 * seed, result=result)
    return compare(load_runs(folder))


def test_every_arm_has_its_shares(tmp_path):
    (drawing,) = draw_confusions(comparison_of(tmp_path, MATRICES))
    axes = drawing.figure.axes
    assert [axis.get_title() for axis in axes] == ["none", "custom"]
    for axis, matrix in zip(axes, MATRICES.values(), strict=True):
        cells = axis.collections[0].get_array()
        np.testing.assert_allclose(cells.reshape(2, 2), np.array(matrix) / 10)
        assert [label.get_text() for label in axis.get_yticklabels()] == ["cat", "dog"]
    numbers = [text.get_text() for text in axes[1].texts]
    assert numbers == ["90", "10", "100"]  # no 0
    assert drawing.description == (
        "none: 40% of cat are taken for dog; custom: 10% of cat are taken for dog"
    )


def test_runs_without_matrices_or_with_many_classes_have_no_figure(tmp_path):
    assert draw_confusions(comparison_of(tmp_path / "none", {"none": None})) == []
    many = np.eye(41, dtype=int).tolist()
    assert draw_confusions(comparison_of(tmp_path / "many", {"none": many}, ())) == []


DATA = {
    "digits": ([[9, 1], [0, 10]], ["zero", "one"]),
    "mnist": ([[5, 5], [0, 10]], ["cat", "dog"]),
    "iris": ([[10, 0, 0], [0, 10, 0], [0, 4, 6]], ["a", "b", "c"]),
}


def runs_on(folder, *names):
    """Runs of two norms on data sets with these confusions and classes."""
    for name in names:
        matrix, classes = DATA[name]
        scores = {"test": {"confusion_matrix": matrix}}
        settings = {"choices.dataset": name, "dataset.name": name}
        for norm in ("none", "custom"):
            for seed in range(2):
                result = {"scores": scores, "classes": classes}
                write_run(folder, norm, seed, 0.8, settings=settings, result=result)
    return load_runs(folder)


def labels_of(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_every_group_has_a_figure_with_its_own_classes(tmp_path):
    drawings = draw_confusions(compare(runs_on(tmp_path, "digits", "mnist")))
    assert [drawing.name for drawing in drawings] == ["confusion", "confusion_2"]
    for drawing, name in zip(drawings, ("digits", "mnist"), strict=True):
        matrix, classes = DATA[name]
        assert drawing.title == f"Confusion of classes (test) (dataset={name})"
        for axis in drawing.figure.axes:
            cells = axis.collections[0].get_array().reshape(2, 2)
            np.testing.assert_allclose(cells, np.array(matrix) / 10)
            assert labels_of(axis) == classes


def test_arms_with_other_numbers_of_classes_have_their_own_names(tmp_path):
    runs = runs_on(tmp_path, "digits", "iris")
    found = compare(runs[runs["norm"] == "none"], by="dataset", baseline="digits")
    (drawing,) = draw_confusions(found)
    assert list(map(labels_of, drawing.figure.axes)) == [
        ["zero", "one"],
        ["a", "b", "c"],
    ]
    assert drawing.description == (
        "digits: 10% of zero are taken for one; iris: 40% of c are taken for b"
    )
