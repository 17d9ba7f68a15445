"""Time to a target, with runs that never arrive."""

import math

import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.targets import survival, time_to_target
from normlab.report.tables import target_table


def test_survival_by_hand():
    assert survival([1, 2, 3, 4], [True] * 4, 4) == pytest.approx((2, 2.5))
    # steps of Kaplan and Meier: 0.75 after 1, 0.375 after 3; area 1 + 2 * 0.75 + 0.375
    assert survival([1, 2, 3, 4], [True, False, True, False], 4) == pytest.approx(
        (3, 2.875)
    )
    assert survival([4, 4], [False, False], 4) == (math.inf, 4)


@pytest.fixture
def runs(tmp_path):
    """custom reaches 0.9 in epoch 2; none in epoch 4, one seed never, one diverged."""
    for seed in range(7):
        write_run(tmp_path, "custom", seed, curve=[0.8, 0.9, 0.92, 0.93, 0.94])
        write_run(
            tmp_path, "none", seed, curve=[0.5, 0.6, 0.7, 0.9 if seed else 0.89, 0.89]
        )
    write_run(tmp_path, "none", 7, status="diverged", curve=[0.2])
    write_run(tmp_path, "none", 8, status="failed", curve=[0.95])
    return load_runs(tmp_path)


def test_censored_runs_count_as_waiting_until_their_end(runs):
    table = time_to_target(compare(runs), "val/accuracy", 0.9).set_index(
        ["arm", "clock"]
    )
    custom, none = table.loc[("custom", "epochs")], table.loc[("none", "epochs")]
    assert (
        custom["reached"],
        custom["runs"],
        custom["median"],
        custom["restricted_mean"],
    ) == (7, 7, 2, 2)
    assert (none["reached"], none["runs"], none["median"]) == (6, 8, 4)
    assert none["restricted_mean"] == pytest.approx((6 * 4 + 2 * 5) / 8)
    assert none["horizon"] == 5
    assert table.loc[("none", "steps"), "median"] == 72
    assert table.loc[("none", "seconds"), "median"] == 2
    assert custom["p"] < 0.01
    assert custom["p_holm"] == pytest.approx(custom["p"])  # one contrast by each clock
    assert math.isnan(none["p"])


def test_runs_that_stop_at_the_target_leave_the_means_as_they_are(tmp_path):
    def means(folder, length):
        for seed in range(3):
            write_run(folder, "custom", seed, curve=[0.8, 0.9, 0.92, 0.93][:length])
            write_run(folder, "none", seed, curve=[0.5, 0.6, 0.7, 0.89])
        table = time_to_target(compare(load_runs(folder)), "val/accuracy", 0.9)
        return table.set_index(["arm", "clock"])["restricted_mean"]

    stopped = means(tmp_path / "stopped", 2)
    assert stopped.equals(means(tmp_path / "whole", 4))
    assert (stopped["custom", "epochs"], stopped["none", "epochs"]) == (2, 4)


def test_a_target_that_runs_stopped_before_is_refused(runs):
    stopped = runs["norm"] == "custom"
    stops = runs.assign(ended_by="max_epochs")
    stops["trainer.stop_at"] = "val/accuracy=0.94"
    stops.loc[stopped, "ended_by"] = "stop_at"
    time_to_target(compare(stops), "val/accuracy", 0.93)
    with pytest.raises(ValueError, match="7 of 15 stopped at val/accuracy=0.94; give"):
        time_to_target(compare(stops), "val/accuracy", 0.95)


def test_a_loss_is_reached_from_above(runs):
    table = time_to_target(compare(runs), "val/loss", 0.21).set_index(["arm", "clock"])
    assert table.loc[("custom", "epochs"), "median"] == 2


def test_unknown_targets(runs):
    for value in (math.nan, math.inf):
        with pytest.raises(
            ValueError,
            match=f"target must be finite, such as 0.97, got {value}",
        ):
            time_to_target(compare(runs), "val/loss", value)
    for clock in ("epoch", "seconds", "lr"):
        with pytest.raises(
            ValueError,
            match=f"no curve of the metric '{clock}'; known are val/accuracy",
        ):
            time_to_target(compare(runs), clock, 1)
    with pytest.raises(ValueError, match="did you mean val/accuracy"):
        time_to_target(compare(runs), "val/acuracy", 0.9)


def test_no_curves_at_all(tmp_path):
    for norm in ("none", "custom"):
        for seed in range(2):
            write_run(tmp_path, norm, seed)
    with pytest.raises(ValueError, match=r"no metrics.csv of 4 runs holds it"):
        time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9)


def test_runs_without_a_whole_curve_are_counted(tmp_path):
    for seed in range(4):
        for norm in ("none", "custom", "torch"):
            folder = write_run(tmp_path, norm, seed, curve=[0.5, 0.7, 0.9])
            if norm == "torch" or (norm == "custom" and seed == 0):
                (folder / "metrics.csv").unlink()
    path = folder.parent / next(
        path.name for path in folder.parent.iterdir() if path.name.startswith("none")
    )
    lines = (path / "metrics.csv").read_text().splitlines(keepends=True)
    (path / "metrics.csv").write_text(
        "".join(lines[:3])
    )  # two epochs of three: nobody knows
    table = time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9)
    epochs = table[table["clock"] == "epochs"].set_index("arm")
    assert epochs["runs"].to_dict() == {"none": 3, "custom": 3, "torch": 0}
    assert epochs["reached"].to_dict() == {"none": 3, "custom": 3, "torch": 0}
    assert epochs["without_curves"].to_dict() == {"none": 1, "custom": 1, "torch": 4}
    assert math.isnan(epochs["median"]["torch"])
    shown = target_table(table, "val/accuracy", 0.9)
    place = {
        name: shown.columns.index(name)
        for name in ("arm", "reached", "median", "no curve")
    }
    cells = [[row[at][0] for at in place.values()] for row in shown.rows[:3]]
    arrived = ["3 of 3", "3", "1"]
    assert sorted(cells) == [
        ["custom", *arrived],
        ["none", *arrived],
        ["torch", "0 of 0", "–", "4"],
    ]


def test_a_run_that_diverges_in_the_first_epoch_never_arrives(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "none", seed, curve=[0.5, 0.9])
        write_run(tmp_path, "custom", seed, curve=[0.5, 0.9])
    write_run(tmp_path, "none", 3, status="diverged", result={"epochs": 0})
    table = time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9).set_index(
        ["arm", "clock"]
    )
    none = table.loc[("none", "epochs")]
    assert (none["reached"], none["runs"], none["without_curves"]) == (3, 4, 0)
    assert (
        "no curve" not in target_table(table.reset_index(), "val/accuracy", 0.9).columns
    )


def test_an_arm_that_diverges_in_the_first_epoch_was_observed_for_no_time(tmp_path):
    write_run(tmp_path, "none", 0, status="diverged", curve=[0.5, 0.6])
    write_run(tmp_path, "custom", 0, status="diverged", result={"epochs": 0})
    for seed in (0, 1):
        settings = {"choices.model": "vgg"}
        write_run(tmp_path, "none", seed, curve=[0.5, 0.9], settings=settings)
    table = time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9)
    lost = table[table["where"] == "model=mlp"]
    assert lost["horizon"].tolist() == [0] * 6
    assert lost["restricted_mean"].tolist() == [0] * 6


def test_curves_that_are_all_cut_are_no_curves(tmp_path):
    for norm in ("none", "custom"):
        for seed in range(2):
            write_run(tmp_path, norm, seed, curve=[0.5, 0.9], result={"epochs": 3})
    with pytest.raises(
        ValueError,
        match=(
            r"needs val/accuracy in every epoch, "
            r"and no metrics.csv of 4 runs holds it"
        ),
    ):
        time_to_target(compare(load_runs(tmp_path)), "val/accuracy", 0.9)


def test_frames_can_be_joined(tmp_path):
    for norm in ("none", "custom"):
        for seed in range(4):
            write_run(tmp_path / norm, norm, seed, curve=[0.5, 0.9])
    joined = pd.concat([load_runs(tmp_path / norm) for norm in ("none", "custom")])
    table = time_to_target(compare(joined), "val/accuracy", 0.9)
    assert table[table["clock"] == "epochs"]["runs"].tolist() == [4, 4]
