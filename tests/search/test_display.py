import csv
import math
import shlex

import yaml
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution

from normlab.search.display import (
    MOST_ROWS,
    SearchProgress,
    best_first,
    fresh_command,
    print_plan,
    print_results,
)
from normlab.search.objective import Outcome
from normlab.search.options import Options
from normlab.search.plan import SearchPlan

from .outcomes import FAILED, OPTIONS, PRUNED, SPACE, finished, recorded


def rows(text):
    return [line.split() for line in text.splitlines()]


def test_the_results_show_every_trial_and_the_best(search, tmp_path, capsys):
    searching = recorded(
        search(5), finished(0.5, 0.125), PRUNED, finished(0.75, 0.25), FAILED
    )
    searching.take()  # another process would have it
    assert not print_results(
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
    assert print_results(recorded(search(1), PRUNED), "val/accuracy", [])
    assert "no trial has finished, so there is no best one" in capsys.readouterr().out
    assert not (tmp_path / "best.yaml").exists()


def test_only_the_best_of_many_trials_are_shown(search, capsys):
    count = MOST_ROWS + 5
    searching = recorded(
        search(count), *(finished(number / 100) for number in range(count))
    )
    print_results(searching, "val/accuracy", [])
    text = capsys.readouterr().out
    assert f"{MOST_ROWS} best of {count} trials, all in trials.csv" in text
    shown = [int(row[0]) for row in rows(text) if len(row) == 7 and row[0].isdigit()]
    assert shown == list(range(count - 1, 4, -1))


def test_the_best_is_the_smallest_loss(search):
    searching = recorded(
        search(3, "val/loss", "minimize"),
        finished(0.5),
        finished(math.inf),
        finished(0.25),
    )
    assert [
        trial.number for trial in best_first(searching.trials, searching.optuna_study)
    ] == [2, 0, 1]


def test_a_diverged_run_of_a_minimized_metric_has_no_deviation(
    search, tmp_path, capsys
):
    searching = recorded(
        search(3, "val/loss", "minimize"),
        Outcome("finished", math.inf, "1 of 2 runs diverged", [0.5, math.inf], 2.0),
        finished(0.5, 0.125),
        finished(0.25, 0.125),
    )
    assert print_results(searching, "val/loss", [])
    shown = [row[-4:] for row in rows(capsys.readouterr().out)]
    assert ["finished", "inf", "–", "2.0"] in shown
    assert ["finished", "0.2500", "0.1768", "2.0"] in shown
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["trial"] == 2
    with open(tmp_path / "trials.csv") as file:
        table = list(csv.DictReader(file))
    assert [row["seed 4"] for row in table] == ["inf", "0.625", "0.375"]


def test_the_table_of_trials_holds_no_formulas_for_spreadsheets(
    search, tmp_path, capsys
):
    space = {"+norm.name": CategoricalDistribution(["=1+1"])}
    failed = Outcome("failed", None, "@home: no memory", [], 1.0)
    print_results(recorded(search(1, space=space), failed), "val/accuracy", [])
    with open(tmp_path / "trials.csv") as file:
        (row,) = csv.DictReader(file)
    assert (row["'+norm.name"], row["reason"]) == ("'=1+1", "'@home: no memory")


def test_choices_that_are_lists_of_names_are_shown(search, capsys):
    choices = CategoricalDistribution(["[features]"])
    searching = recorded(search(1, space={"dataset.drop": choices}), finished(0.5))
    print_results(searching, "val/accuracy", [])
    assert ["0", "[features]", "finished"] in [
        row[:3] for row in rows(capsys.readouterr().out)
    ]


def test_the_command_has_seeds_that_no_trial_had():
    begin = ["python", "train.py", "-m", "+a='x y'", "trainer.max_epochs=2"]
    command = fresh_command(begin, {"optimizer.lr": 0.125, "bias": True}, [0, 4, 2])
    assert shlex.split(command) == [
        *begin,
        "optimizer.lr=0.125",
        "bias=true",
        "seed=range(5,15)",
    ]


def test_a_line_for_every_trial_when_it_ends(search, capsys):
    searching = search(4)
    with SearchProgress(searching, "val/accuracy") as progress:
        for outcome in (
            finished(0.5),
            PRUNED,
            finished(0.25, reason="1 of 2 runs diverged"),
            FAILED,
        ):
            trial = searching.take()
            searching.record(trial, outcome)
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


def test_a_dry_run_shows_the_space_and_the_time_left(search, compose, tmp_path, capsys):
    searching = recorded(search(5), finished(0.5), PRUNED, finished(0.25))
    config = compose(f"paths.outputs={tmp_path}", "group=g")
    config = OmegaConf.to_container(config, resolve=True)
    options = Options(**OPTIONS | {"n_trials": 7})
    plan = SearchPlan(options, SPACE, [], config, "val/accuracy", "maximize")
    print_plan(plan, searching.trials, workers=2)
    assert capsys.readouterr().out.splitlines() == [
        f"search in {tmp_path}/g/search-sgd",
        "maximize val/accuracy, mean of 2 seeds: 7 trials, 3 done",
        "  optimizer.lr  interval(0.0, 1.0)",
        "  norm          none,custom",
        "about 4 s left on 2 workers, by the finished trials",
    ]


def test_long_names_of_settings_are_shortened(search, capsys):
    searching = search(1)
    trial = searching.take()
    searching.record(trial, finished(0.5))
    print_results(searching, "val/accuracy", [])
    _, _, _, header, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == [
        *("trial", "lr", "norm", "status", "val/accuracy", "SD", "seconds")
    ]
