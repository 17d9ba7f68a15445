import math

import pytest

from normlab.search.importance import draw_importances, importances

from .outcomes import finished, recorded


def test_importance_is_the_share_of_the_variation(search):
    searching = search(16)
    while (trial := searching.take()) is not None:
        searching.record(trial, finished(float(trial.params["norm"] == "custom")))
    found = importances(searching.optuna_study)
    assert list(found) == ["norm", "optimizer.lr"]
    assert sum(found.values()) == pytest.approx(1)
    assert found["norm"] > 0.9


@pytest.mark.parametrize(
    "values", [[], [0.5], [0.5, 0.5], [0.5, math.inf], [math.inf, math.inf]]
)
def test_no_importance_without_variation(search, values):
    assert importances(recorded(search(3), *map(finished, values)).optuna_study) == {}


def test_importances_are_drawn_into_a_file(tmp_path):
    shares = {"norm": 0.75, "optimizer.lr": 0.25}
    draw_importances(shares, "val/accuracy", tmp_path / "importance.png")
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")
