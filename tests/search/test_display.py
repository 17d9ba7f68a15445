import csv
import math
import shlex

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution

from normlab.search.display import (
    MOST_ROWS,
    SearchProgress,
    best_first,
    fresh_command,
    importances,
    print_report,
    short_names,
)
from normlab.search.objective import Outcome
from normlab.search.options import Options
from normlab.search.storage import Search, define

SPACE = {
    "optimizer.lr": FloatDistribution(0.0, 1.0),
    "norm": CategoricalDistribution(["none", "custom"]),
}


@pytest.fixture
def search(tmp_path):
    made = []

    def begin(n_trials, metric="val/accuracy", direction="maximize", space=SPACE):
        options = Options(
            n_trials=n_trials,
            n_jobs=None,
            seeds=[0, 4],
            metric=None,
            direction=None,
            study_name=None,
            storage="journal",
            sampler={"_target_": "optuna.samplers.RandomSampler", "seed": 0},
            pruner=None,
        )
        made.append(
            Search(
                tmp_path,
                "a search",
                options,
                space,
                define(space, metric, direction, [0, 4], {}),
            )
        )
        return made[-1]

    yield begin
    for searching in made:
        searching.__exit__()


def finished(value, spread=0.0, reason=None):
    return Outcome("finished", value, reason, [value - spread, value + spread], 2.0)


PRUNED = Outcome("pruned", None, "pruned after epoch 1", [], 0.5)
FAILED = Outcome("failed", None, "seed 4: no memory", [0.5], 1.0)


def told(searching, *outcomes):
    for outcome in outcomes:
        searching.tell(searching.take(), outcome)
    return searching


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_the_report_shows_every_trial_and_what_is_best(search, tmp_path, capsys):
    searching = told(
        search(5), finished(0.5, 0.125), PRUNED, finished(0.75, 0.25), FAILED
    )
    searching.take()  # another process would have it
    assert not print_report(
        searching, "val/accuracy", ["python", "train.py", "-m", "trainer.max_epochs=2"]
    )
    text = capsys.readouterr().out
    trials = searching.trials
    settings = [
        [f"{trial.params['optimizer.lr']:.3g}", trial.params["norm"]]
        for trial in trials
    ]
    assert ["0", *settings[0], "finished", "0.5000", "0.1768", "2.0"] in rows(text)
    assert ["1", *settings[1], "pruned", "–", "–", "0.5"] in rows(text)
    assert ["2", *settings[2], "finished", "0.7500", "0.3536", "2.0"] in rows(text)
    assert ["3", *settings[3], "failed", "–", "–", "1.0"] in rows(text)
    assert ["4", *settings[4], "running", "–", "–", "0.0"] in rows(text)
    assert "1 trial still runs in another process" in text
    lr, norm = settings[3]
    assert f"failed  trial 3, lr={lr} norm={norm}: seed 4: no memory" in text
    assert "best  trial 2, val/accuracy 0.7500, mean of 2 seeds" in text
    best = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert best["params"] == trials[2].params
    assert (best["trial"], best["value"], best["metric"]) == (2, 0.75, "val/accuracy")
    assert best["command"] in text
    with open(tmp_path / "trials.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["status"] for row in table] == [
        "finished",
        "pruned",
        "finished",
        "failed",
        "running",
    ]
    assert [row["seed 0"] for row in table] == ["0.375", "", "0.5", "", ""]
    assert [row["seed 4"] for row in table] == ["0.625", "", "1.0", "", ""]
    assert float(table[2]["optimizer.lr"]) == trials[2].params["optimizer.lr"]
    assert table[3]["reason"] == "seed 4: no memory"
    assert (tmp_path / "importance.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_finished_trial_there_is_no_best_one(search, tmp_path, capsys):
    assert print_report(told(search(1), PRUNED), "val/accuracy", [])
    assert "no trial has finished, so there is no best one" in capsys.readouterr().out
    assert not (tmp_path / "best.yaml").exists()


def test_of_many_trials_the_best_are_shown(search, capsys):
    count = MOST_ROWS + 5
    searching = told(
        search(count), *(finished(number / 100) for number in range(count))
    )
    print_report(searching, "val/accuracy", [])
    text = capsys.readouterr().out
    assert f"{MOST_ROWS} best of {count} trials, all in trials.csv" in text
    shown = [int(row[0]) for row in rows(text) if len(row) == 7 and row[0].isdigit()]
    assert shown == list(range(count - 1, 4, -1))


def test_the_best_is_the_smallest_loss(search):
    searching = told(
        search(3, "val/loss", "minimize"),
        finished(0.5),
        finished(math.inf),
        finished(0.25),
    )
    assert [
        trial.number for trial in best_first(searching.trials, searching.study)
    ] == [2, 0, 1]


def test_the_command_runs_the_best_with_seeds_that_no_trial_had():
    begin = ["python", "train.py", "-m", "+a='x y'", "trainer.max_epochs=2"]
    command = fresh_command(begin, {"optimizer.lr": 0.125, "bias": True}, [0, 4, 2])
    assert shlex.split(command) == [
        *begin,
        "optimizer.lr=0.125",
        "bias=true",
        "seed=range(5,15)",
    ]


def test_importance_is_the_share_of_the_variation(search):
    searching = search(16)
    while (trial := searching.take()) is not None:
        searching.tell(trial, finished(float(trial.params["norm"] == "custom")))
    found = importances(searching.study)
    assert list(found) == ["norm", "optimizer.lr"]
    assert sum(found.values()) == pytest.approx(1)
    assert found["norm"] > 0.9


@pytest.mark.parametrize(
    "values", [[], [0.5], [0.5, 0.5], [0.5, math.inf], [math.inf, math.inf]]
)
def test_no_importance_without_variation(search, values):
    assert importances(told(search(3), *map(finished, values)).study) == {}


def test_every_trial_has_a_line_when_it_ends(search, capsys):
    searching = search(4)
    with SearchProgress(searching, "val/accuracy") as progress:
        for outcome in (
            finished(0.5),
            PRUNED,
            finished(0.25, reason="1 of 2 runs diverged"),
            FAILED,
        ):
            trial = searching.take()
            searching.tell(trial, outcome)
            progress.end(trial, outcome)
    _, first, *lines = capsys.readouterr().err.splitlines()
    assert first == "maximize val/accuracy, mean of 2 seeds: 4 trials"
    assert [line.split("  ")[0] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert "  finished  val/accuracy 0.5000  best 0.5000  " in lines[0]
    assert "  pruned after epoch 1  best 0.5000  " in lines[1]
    assert (
        "  finished  val/accuracy 0.2500  1 of 2 runs diverged  best 0.5000  "
        in lines[2]
    )
    assert lines[3].endswith("  failed  seed 4: no memory  best 0.5000")
    with SearchProgress(searching, "val/accuracy"):
        pass
    assert capsys.readouterr().err.endswith("4 trials, 4 done\n")


def test_names_are_short_where_that_tells_them_apart():
    assert short_names(["optimizer.lr", "norm", "norm.eps", "optimizer.eps"]) == [
        *("lr", "norm", "norm.eps", "optimizer.eps")
    ]
