"""Results of other programs, from their files to the numbers of a comparison."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from normlab.compare import compare, load_results
from normlab.metrics import higher_is_better

SLEEP = Path(__file__).parent / "results" / "sleep.csv"
HEADER = "optimizer,seed,acc,state\n"


def written(folder, text, name="results.csv"):
    path = folder / name
    path.write_text(text)
    return path


def loaded(path, **options):
    return load_results(path, **{"by": "optimizer", "metric": "acc"} | options)


def sleep(**options):
    runs = load_results(SLEEP, by="group", metric="extra", better="higher", **options)
    # With this level the interval of the two one-sided tests has 95 %.
    comparison = compare(runs, "Group", "extra", baseline="1", margin=10, level=0.025)
    return comparison.contrasts.iloc[0]


def test_pairs_of_the_data_set_sleep_give_the_numbers_of_r():
    row = sleep(seed="ID")
    assert row["design"] == "paired"
    assert row["difference"] == pytest.approx(1.58)
    interval = row[["equivalence_low", "equivalence_high"]].tolist()
    assert interval == pytest.approx([0.7001142, 2.459886], abs=5e-7)
    assert row["p"] == 0.00390625
    assert row["correlation"] == pytest.approx(0.7951702, abs=5e-8)


def test_without_seeds_sleep_gives_welchs_numbers_of_r():
    row = sleep(ignore=["ID"])
    assert row["design"] == "independent"
    interval = row[["equivalence_low", "equivalence_high"]].tolist()
    assert interval == pytest.approx([-0.2054832, 3.3654832], abs=5e-8)
    assert row["p"] == pytest.approx(0.07939414, abs=5e-9)
    assert math.isnan(row["correlation"])


def test_a_table_becomes_runs_with_a_status_each(tmp_path):
    text = HEADER + (
        "adam,0,0.9,finished\nadam,1,nan,finished\nadam,2,,finished\n"
        "sgd,0,0.8,crashed\nsgd,1,inf,\nsgd,2,0.7,running\n"
    )
    path = written(tmp_path, text)
    runs = loaded(path)
    assert runs["optimizer"].tolist() == ["adam"] * 3 + ["sgd"] * 2
    assert runs["seed"].tolist() == [0, 1, 2, 0, 1]
    statuses = ["finished", "diverged", "failed", "failed", "diverged"]
    assert runs["status"].tolist() == statuses
    reasons = ["acc is not finite", "no acc", "the results say crashed"]
    assert runs["reason"].tolist()[1:4] == reasons
    assert runs.attrs["unreadable"] == [(f"{path}, line 7", "the run has not ended")]
    assert runs.attrs["columns"] == [
        ("optimizer", "arms", "adam, sgd"),
        ("seed", "seed: runs of two arms with the same one are a pair", "0, 1, 2"),
        ("acc", "compared: higher is better", "0.7000 to 0.9000"),
        ("state", "how the run ended", "crashed, finished, running, –"),
    ]


def test_runs_that_diverged_count_as_the_worst(tmp_path):
    rows = []
    for seed in range(10):
        rows.append(f"sgd,{seed},{0.8 + seed / 1000},")
        value = "nan" if seed < 8 else 0.9
        rows.append(f"adam,{seed},{value},")
    runs = loaded(written(tmp_path, HEADER + "\n".join(rows)))
    row = compare(runs, "optimizer", "acc", baseline="sgd").contrasts.iloc[0]
    assert row["test"] == "ranks"
    assert row["diverged"] == 8
    assert row["verdict"] == "worse"


def test_further_columns_become_settings_and_groups(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for optimizer, gain in (("adam", 0.1), ("sgd", 0.0)):
        for width in (16, 32):
            for seed in range(8):
                score = 0.5 + gain + width / 1000 + 0.001 * random.normal()
                energy = random.normal()
                row = (optimizer, width, seed, score, energy, f"run{len(rows)}")
                rows.append(",".join(map(str, row)))
    text = "optimizer,width,seed,acc,energy,tag\n" + "\n".join(rows)
    runs = loaded(written(tmp_path, text))
    comparison = compare(runs, "optimizer", "acc", baseline="sgd")
    assert comparison.within == ["width"]
    assert comparison.contrasts["where"].tolist() == ["width=16", "width=32"]
    assert comparison.contrasts["verdict"].tolist() == ["better"] * 2
    taken = {name: role for name, role, _ in runs.attrs["columns"]}
    assert taken["energy"] == "measured, not compared"
    assert taken["tag"] == "describes a run, not compared"
    assert runs["energy"].dtype == float
    assert "tag" not in runs


def test_of_rows_by_epoch_the_last_or_the_best_is_taken(tmp_path):
    rows = []
    for optimizer in ("adam", "sgd"):
        for seed in range(2):
            # Not in order, and the last row has no score yet.
            for epoch, score in ((2, 0.9), (1, 0.5), (3, 0.7), (4, "")):
                rows.append(f"{optimizer},{seed},{epoch},{score}")
    path = written(tmp_path, "optimizer,seed,epoch,acc\n" + "\n".join(rows))
    last, best = loaded(path), loaded(path, value="best")
    assert last["acc"].tolist() == [0.7] * 4
    assert best["acc"].tolist() == [0.9] * 4
    assert last.attrs["notes"] == [
        "Of the rows by epoch, the last acc of every run is compared."
    ]
    assert "has the advantage" in best.attrs["notes"][0]


def test_folds_get_the_correction_for_shared_training_data(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for optimizer in ("adam", "sgd"):
        for fold in range(6):
            rows.append(f"{optimizer},{fold},0,{random.random()}")
    path = written(tmp_path, "optimizer,fold,seed,acc\n" + "\n".join(rows))
    row = compare(loaded(path), "optimizer", "acc").contrasts.iloc[0]
    assert row["design"] == "folds"
    assert row["n"] == 6


def test_names_that_mean_something_else_get_a_capital(tmp_path):
    rows = [f"{arm},{seed},x,{0.1 * seed}" for arm in "ab" for seed in range(3)]
    text = "arm,ID,seed,status\n" + "\n".join(rows)
    runs = load_results(
        written(tmp_path, text), by="arm", metric="status", seed="ID", better="lower"
    )
    names = {"arm": "Arm", "ID": "seed", "seed": "Seed", "status": "Status"}
    assert runs.attrs["names"] == names
    assert runs["seed"].tolist() == [0, 1, 2] * 2
    assert runs["Status"].tolist() == pytest.approx([0, 0.1, 0.2] * 2)
    assert not higher_is_better("Status")
    assert compare(runs, "Arm", "Status").arms == ["a", "b"]


def test_our_own_table_of_runs_can_be_read_again(tmp_path):
    rows = [
        f"{arm},{seed},0.{seed}1" for arm in ("none", "custom") for seed in range(3)
    ]
    path = written(tmp_path, "norm,seed,test/accuracy\n" + "\n".join(rows))
    first = load_results(path)
    first.to_csv(tmp_path / "runs.csv", index=False)
    again = load_results(tmp_path / "runs.csv")
    pd.testing.assert_series_equal(again["test/accuracy"], first["test/accuracy"])
    assert again["norm"].tolist() == first["norm"].tolist()
    assert again["status"].tolist() == ["finished"] * 6


def test_a_schedule_does_not_hide_the_epochs_of_a_run(tmp_path):
    rows = []
    for optimizer in ("adam", "sgd"):
        for seed in range(3):
            for epoch, lr in ((1, 0.1), (2, 0.01)):
                rows.append(f"{optimizer},{seed},{epoch},{lr},0.{seed}{epoch}")
    path = written(tmp_path, "optimizer,seed,epoch,lr,acc\n" + "\n".join(rows))
    runs = loaded(path)
    assert runs["acc"].tolist() == [0.02, 0.12, 0.22] * 2
    assert runs["lr"].tolist() == [0.01] * 6


def test_a_best_epoch_in_final_rows_is_no_clock(tmp_path):
    rows = []
    for optimizer in ("adam", "sgd"):
        for width in (16, 32):
            for seed in range(3):
                epoch = (3 * seed + width) % 7
                rows.append(f"{optimizer},{width},{seed},{epoch},0.5")
    path = written(tmp_path, "optimizer,width,seed,epoch,acc\n" + "\n".join(rows))
    runs = loaded(path)
    assert len(runs) == 12
    taken = {name: role for name, role, _ in runs.attrs["columns"]}
    assert taken["epoch"] == "describes a run, not compared"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "adam,0,0.9,\nadam,0,0.8,\n",
            {},
            "line 2 and .* line 3 both have optimizer=ad",
        ),
        ("adam,0,0.9,\nadam,0,0.8,\n", {}, r"\(they differ in acc\)"),
        ("adam,0,0.9,\nsgd,1,0.8,\n", {}, "every arm must have at least two runs to c"),
        ("adam,,0.9,\nsgd,1,0.8,\n", {}, "seed must be in every row; seed is empty in"),
        (
            "adam,0,high,\n",
            {},
            "metric must name a column of numbers; acc is 'high' in",
        ),
        ("adam,0,1,liquid\n", {"status": "state"}, "status must be a word such as fin"),
        (",0,1,\n", {}, "optimizer must have values, and is empty in every row"),
        ("a,0,1,\n", {"metric": "accc"}, "no column 'accc'; did you mean acc?"),
        (
            "a,0,1,\n",
            {"metric": "seed"},
            "better must be higher or lower: the name seed",
        ),
        ("a,0,1,\n", {"layout": "{x}"}, "layout is for folders of TensorBoard's event"),
        ("a,0,1,x\na,1,1,y\n", {}, "besides optimizer they differ in state; leave"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_name(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        loaded(written(tmp_path, HEADER + text), **options)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400])
def test_whole_numbers_beyond_float64_are_infinite(tmp_path, number):
    rows = [f"{arm},{seed},{seed}" for arm in ("a", "b") for seed in range(3)]
    path = written(
        tmp_path, f"optimizer,seed,acc\n{chr(10).join(rows)}\na,3,{number}\n"
    )
    assert loaded(path)["status"].tolist() == ["finished"] * 6 + ["diverged"]


def test_a_setting_may_be_any_whole_number(tmp_path):
    large = "1" + "0" * 400
    rows = [f"{arm},0.5,{large if arm == 'a' else n}" for n, arm in enumerate("aabb")]
    path = written(tmp_path, "optimizer,acc,batch\n" + "\n".join(rows))
    assert loaded(path, ignore=["batch"])["acc"].tolist() == [0.5] * 4
    rows = [f"a,0.5,{large}{n}" for n in range(4)]
    path = written(tmp_path, "optimizer,acc,stamp\n" + "\n".join(rows))
    assert "stamp" not in loaded(path)


def test_numbers_whose_squares_overflow_are_refused(tmp_path):
    path = written(tmp_path, "optimizer,acc\na,1\na,1e200\nb,-1\nb,2\n")
    with pytest.raises(
        ValueError, match=r"at most 1e\+100 in size.* 1e\+200 in .*line 3"
    ):
        loaded(path)


def test_runs_of_different_length_are_named(tmp_path):
    rows = []
    for arm, epochs in (("a", 2), ("b", 3)):
        for seed in range(2):
            rows += [f"{arm},{seed},{epoch},0.5" for epoch in range(1, epochs + 1)]
    path = written(tmp_path, "optimizer,seed,epoch,acc\n" + "\n".join(rows))
    assert "their last epoch is 2 to 3" in loaded(path).attrs["notes"][-1]


def test_a_table_is_read_in_the_same_way_after_another_one(tmp_path):
    """In the first one `noise` is measured, in the second one it is a setting."""
    measured = ["norm,seed,acc,noise"]
    chosen = ["norm,seed,acc,noise"]
    for seed in range(4):
        for norm in ("a", "b"):
            score = 0.5 + 0.01 * seed + 0.1 * (norm == "b")
            measured.append(f"{norm},{seed},{score},{score / 3:.3f}1")
            for noise in (0.1, 0.2):
                chosen.append(f"{norm},{seed},{score + noise},{noise}")
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("\n".join(measured))
    second.write_text("\n".join(chosen))
    load_results(first, metric="acc")
    found = compare(load_results(second, metric="acc"), by="norm", metric="acc")
    (setting,) = found.within
    assert setting.lower() == "noise"
    assert sorted(found.contrasts["n"]) == [4, 4]
