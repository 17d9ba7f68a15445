"""The figure of what each arm takes its classes for."""

import numpy as np
from compare.helpers import write_run

from normlab.compare import compare, load_runs
from normlab.report.confusion_figures import draw_confusion

MATRICES = {"none": [[6, 4], [2, 8]], "custom": [[9, 1], [0, 10]]}


def comparison_of(folder, matrices, classes=("cat", "dog")):
    for norm, matrix in matrices.items():
        scores = {"test": {"confusion_matrix": matrix}}
        result = {"scores": scores, "classes": list(classes)}
        for seed in range(2):
            write_run(folder, norm, seed, 0.8 + 0.01 * seed, result=result)
    return compare(load_runs(folder))


def test_every_arm_has_its_shares(tmp_path):
    drawing = draw_confusion(comparison_of(tmp_path, MATRICES))
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
    assert draw_confusion(comparison_of(tmp_path / "none", {"none": None})) is None
    many = np.eye(41, dtype=int).tolist()
    assert draw_confusion(comparison_of(tmp_path / "many", {"none": many}, ())) is None
