"""Reading `metrics.csv` and `statistics.csv`, also damaged ones."""

import pytest

from compare.helpers import write_run, write_seeds
from normlab.compare.curves import (
    curve_warnings,
    read_curves,
    read_layers,
    without_curves,
)
from normlab.compare.runs import load_runs


def test_curves_survive_a_cut_line_and_a_missing_file(tmp_path):
    folder = write_run(tmp_path, "none", curve=[0.5, 0.6, 0.7])
    write_run(tmp_path, "none", seed=1)
    path = folder / "metrics.csv"
    path.write_text(path.read_text() + "4,72,2.0,0.1")
    curves = read_curves(load_runs(tmp_path), ["val/accuracy", "nothing"])
    assert curves["val/accuracy"].tolist() == [0.5, 0.6, 0.7]
    assert curves["nothing"].isna().all()


def test_layers_of_all_runs_in_order_of_depth(tmp_path):
    write_run(tmp_path, "custom", curve=[0.5, 0.6], layers=True)
    write_run(tmp_path, "custom", seed=1)
    layers = read_layers(load_runs(tmp_path))
    assert list(dict.fromkeys(layers["layer"])) == [
        "hidden.0.norm",
        "hidden.1.norm",
        "hidden.2.norm",
    ]
    assert set(layers["epoch"]) == {1, 2}


def cut(folder, lines):
    """Keep the first lines of metrics.csv."""
    path = folder / "metrics.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


def test_runs_with_an_incomplete_curve_are_named(tmp_path):
    folders = [
        write_run(tmp_path, "none", seed, curve=[0.5, 0.6, 0.7]) for seed in range(4)
    ]
    assert curve_warnings(load_runs(tmp_path), ["val/accuracy"]) == []
    (folders[1] / "metrics.csv").unlink()
    cut(folders[2], 3)
    write_run(tmp_path, "none", 4, status="failed")  # has no result either
    write_run(
        tmp_path, "none", 5, status="diverged", result={"epochs": 0}
    )  # in the first epoch
    runs = load_runs(tmp_path)
    finished = runs[runs["status"] != "failed"]
    lacking = without_curves(
        finished, read_curves(finished, ["val/accuracy"]), "val/accuracy"
    )
    assert lacking["seed"].tolist() == [1, 2]
    told = (
        "metrics.csv is missing, damaged or cut in {} of 5 runs, which learning "
        "curves and time to target of {} "
    )
    told += "leave out; the first is {}. rerun=true trains a run again."
    assert curve_warnings(runs, ["val/accuracy", "val/accuracy", "val/f1"]) == [
        told.format(2, "val/accuracy", folders[1]),
        told.format(4, "val/f1", folders[0]),
    ]


def test_no_warning_if_no_run_has_a_curve(tmp_path):
    write_seeds(tmp_path, {"none": [0.9, 0.91]})
    assert curve_warnings(load_runs(tmp_path), ["val/accuracy"]) == []


def test_rows_without_epoch_or_time_are_left_out_of_curves(tmp_path):
    folder = write_run(tmp_path, "none", curve=[0.5, 0.6, 0.7])
    path = folder / "metrics.csv"
    path.write_text(
        path.read_text().replace("2,36,1.0", "2,36,-").replace("3,54", "x,54")
    )
    assert read_curves(load_runs(tmp_path), ["val/accuracy"])["epoch"].tolist() == [1]


@pytest.mark.parametrize(
    "damage",
    ["2,36,a,b,-", "x,36,a,b,1", "2,36,a,b,inf", "2,36,,b,1", "2,36,a,,1", "2"],
)
def test_damaged_rows_of_statistics_are_left_out(tmp_path, damage):
    path = write_run(tmp_path, "none", curve=[0.5]) / "statistics.csv"
    path.write_text(
        f"epoch,step,layer,statistic,value\n1,18,3,activation_q15,-0.5\n{damage}\n"
    )
    layers = read_layers(load_runs(tmp_path))
    assert layers[["epoch", "layer", "statistic", "value"]].to_numpy().tolist() == [
        [1, "3", "activation_q15", -0.5]
    ]
