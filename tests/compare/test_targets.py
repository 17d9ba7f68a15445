"""Time to a target, with runs that never arrive."""

import math

import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.targets import parse_target, survival, time_to_target


def test_survival_by_hand():
    assert survival([1, 2, 3, 4], [True] * 4, 4) == pytest.approx((2, 2.5))
    # steps of Kaplan and Meier: .75 after 1, .375 after 3; area 1 + 2 * .75 + .375
    assert survival([1, 2, 3, 4], [True, False, True, False], 4) == pytest.approx((3, 2.875))
    assert survival([4, 4], [False, False], 4) == (math.inf, 4)


@pytest.fixture
def runs(tmp_path):
    """custom reaches .9 in epoch 2, none in epoch 4, one seed never; one diverged after an epoch."""
    for seed in range(7):
        write_run(tmp_path, "custom", seed, curve=[0.8, 0.9, 0.92, 0.93, 0.94])
        write_run(tmp_path, "none", seed, curve=[0.5, 0.6, 0.7, 0.9 if seed else 0.89, 0.89])
    write_run(tmp_path, "none", 7, status="diverged", curve=[0.2])
    write_run(tmp_path, "none", 8, status="failed", curve=[0.95])
    return load_runs(tmp_path)


def test_censored_runs_count_as_waiting_until_the_end(runs):
    table = time_to_target(compare(runs), "val/accuracy", 0.9).set_index(["arm", "clock"])
    custom, none = table.loc[("custom", "epochs")], table.loc[("none", "epochs")]
    assert (custom["reached"], custom["runs"], custom["median"], custom["restricted_mean"]) == (7, 7, 2, 2)
    assert (none["reached"], none["runs"], none["median"]) == (6, 8, 4)
    assert none["restricted_mean"] == pytest.approx((6 * 4 + 2 * 5) / 8)
    assert none["horizon"] == 5
    assert table.loc[("none", "steps"), "median"] == 72
    assert table.loc[("none", "seconds"), "median"] == 2
    assert custom["p"] < 0.01
    assert custom["p_holm"] == pytest.approx(custom["p"])  # one contrast by each clock
    assert math.isnan(none["p"])


def test_a_loss_is_reached_from_above(runs):
    table = time_to_target(compare(runs), "val/loss", 0.21).set_index(["arm", "clock"])
    assert table.loc[("custom", "epochs"), "median"] == 2


def test_unknown_targets(runs):
    assert parse_target("val/accuracy=0.97") == ("val/accuracy", 0.97)
    for text in ("val/accuracy", "val/accuracy=high"):
        with pytest.raises(ValueError, match="--target must be METRIC=VALUE"):
            parse_target(text)
    with pytest.raises(ValueError, match="did you mean val/accuracy"):
        time_to_target(compare(runs), "val/acuracy", 0.9)


def test_no_curves_at_all(tmp_path):
    for norm in ("none", "custom"):
        for seed in range(2):
            write_run(tmp_path, norm, seed)
    with pytest.raises(ValueError, match=r"no metrics.csv of 4 runs holds it"):
        time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9)
