"""What columns are taken for, by what the user says, their names and their values."""

from dataclasses import replace

import pandas as pd
import pytest

from normlab.compare.result_columns import (
    Wanted,
    ending_of_run,
    find_roles,
    find_run_roles,
    last_word,
    metric_values,
    role_by_values,
)
from normlab.compare.result_tables import Results
from normlab.metrics import declare_metrics


def results(**columns):
    length = len(next(iter(columns.values())))
    places = [f"line {number}" for number in range(2, length + 2)]
    return Results("CSV file", pd.DataFrame(columns, index=places, dtype=object))


def roles(wanted=None, **columns):
    found = results(**columns)
    wanted = wanted or Wanted(["norm"], "score")
    return find_roles(found, find_run_roles(found, wanted))


def test_what_is_measured_beside_a_setting_of_its_name_is_no_setting():
    found = results(**{"lr": [0.1, 0.2], "scalars.lr": [0.01, 0.02]})
    measured = replace(found, measurements=frozenset({"scalars.lr"}))
    assert role_by_values(measured, "scalars.lr") == "measurement"
    assert role_by_values(measured, "lr") == "setting"


def test_what_was_a_metric_in_another_table_may_be_a_setting_of_this_one():
    declare_metrics({"noise": None, "strange": True})
    table = results(noise=[0.1, 0.2] * 4, strange=[1, 2] * 4)
    assert role_by_values(table, "noise") == "setting"
    assert role_by_values(table, "strange") == "setting"


RUNS = {
    "norm": ["a"] * 4 + ["b"] * 4,
    "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8],
}


def test_columns_are_told_by_names_and_values():
    found = roles(
        **RUNS,
        model_seed=[0, 1, 2, 3] * 2,
        State=["finished"] * 7 + ["crashed"],
        fold=[0, 0, 1, 1] * 2,
        lr=[0.1] * 4 + [0.01] * 4,
        train_loss=[0.5] * 8,
        flops=[1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5],
        note=list("abcdefgh"),
        depth=[1, 2, 1, 2] * 2,
        epoch=[5, 7, 9, 5, 6, 8, 9, 7],
    )
    assert found == {
        "norm": "arms",
        "score": "metric",
        "model_seed": "seed",
        "State": "status",
        "fold": "fold",
        "lr": "setting",
        "train_loss": "measurement",
        "flops": "measurement",
        "note": "description",
        "depth": "setting",
        "epoch": "description",
    }


def test_a_clock_is_a_column_in_which_rows_of_one_run_differ():
    found = roles(
        norm=["a"] * 4 + ["b"] * 4,
        seed=[0, 0, 1, 1] * 2,
        epoch=[1, 2] * 4,
        score=RUNS["score"],
    )
    assert found["epoch"] == "clock"


def test_what_the_user_says_comes_first():
    wanted = Wanted(
        ["norm"], "score", seed="ID", status="end", settings=["x"], ignore=["y"]
    )
    found = roles(
        wanted,
        **RUNS,
        ID=range(8),
        end=["ok"] * 8,
        seed=[0] * 8,
        x=[v + 0.5 for v in range(8)],
        y=["a"] * 8,
    )
    expected = {"ID": "seed", "end": "status", "x": "setting", "y": "ignored"}
    assert expected.items() <= found.items()
    assert found["seed"] == "setting"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(["nrm"], "score"), "no column 'nrm'; did you mean norm?"),
        (Wanted(["norm"], "scor"), "no column 'scor'; did you mean score?"),
        (Wanted(["norm"], "score", seed="data_sed"), "did you mean data_seed?"),
        (Wanted(["norm"], "norm"), "norm is named as metric and as arms"),
        (Wanted(["norm"], "score"), "several columns could be the seed: "),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(wanted, message):
    table = results(**RUNS, data_seed=range(8), model_seed=range(8))
    with pytest.raises(ValueError, match=message):
        find_run_roles(table, wanted)


def test_a_status_column_of_other_words_is_a_setting():
    assert roles(**RUNS, state=["liquid", "solid"] * 4)["state"] == "setting"


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("FINISHED", "finished"),
        ("crashed", "failed"),
        (" Killed ", "failed"),
        ("diverged", "diverged"),
        ("running", "unfinished"),
        ("liquid", ""),
    ],
)
def test_words_for_how_a_run_ended(word, ending):
    assert ending_of_run(word) == ending


def test_the_metric_must_be_numbers():
    column = pd.Series([0.5, "93%"], index=["line 2", "line 3"], name="acc")
    with pytest.raises(ValueError, match="acc is '93%' in line 3"):
        metric_values(column)


def test_the_last_word_of_a_name():
    assert last_word("config.random_seed") == "seed"
    assert last_word("Hyperparameters/Seed") == "seed"
