"""`hydra/sweeper=optuna` as a person uses it, mostly in this process."""

import ast
import csv
import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

from normlab.main import main
from normlab.search.storage import begun_trials, load_optuna_study

ROOT = Path(__file__).resolve().parents[2]
SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "trainer.max_epochs=1",
    "statistics.every_n_epochs=0",
    "logger=csv",
]
SPACE = ["optimizer.lr=tag(log, interval(0.001, 1))", "norm=none,custom"]
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def command(monkeypatch, tmp_path):
    """command(*words) -> exit code of `python train.py *words` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the command sets it for Hydra
        monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
        try:
            main()
        except SystemExit as end:
            return end.code
        return 0

    return run


def trials(folder, name="search-sgd"):
    optuna_study = load_optuna_study(
        str(folder / "outputs/digits-mlp" / name / "study.journal"), name
    )
    return begun_trials(optuna_study.trials)


def table(folder):
    with open(folder / "outputs/digits-mlp/search-sgd/trials.csv") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_a_search_is_continued_if_more_trials_are_asked_for(command, tmp_path, capsys):
    words = [*SEARCH, *SPACE, "hydra.sweeper.seeds=[0,1]"]
    assert command(*words, "hydra.sweeper.n_trials=3") == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines()] == [
        "search",
        "maximize",
        "1/3",
        "2/3",
        "3/3",
    ]
    assert "test/" not in out + err
    best = yaml.safe_load(
        (tmp_path / "outputs/digits-mlp/search-sgd/best.yaml").read_text()
    )
    found = trials(tmp_path)
    assert best["value"] == max(trial.value for trial in found)
    assert best["command"].endswith("'seed=range(2,12)'")
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 6
    folders = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.glob("outputs/*/*/result.json")
    }
    assert command(*words, "hydra.sweeper.n_trials=3") == 0
    assert capsys.readouterr().out == out
    assert command(*words, "hydra.sweeper.n_trials=4") == 0
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 8
    assert all(path.stat().st_mtime_ns == changed for path, changed in folders.items())
    assert [trial.params for trial in trials(tmp_path)[:3]] == [
        trial.params for trial in found
    ]


def test_the_objective_is_the_mean_accuracy_of_the_runs(command, tmp_path):
    assert (
        command(
            *SEARCH,
            "optimizer.lr=0.1,0.2",
            "hydra.sweeper.n_trials=1",
            "hydra.sweeper.seeds=[3,5]",
        )
        == 0
    )
    (trial,) = trials(tmp_path, "search-custom-sgd")
    results = [
        yaml.safe_load(path.read_text())
        for path in sorted(tmp_path.glob("outputs/*/*/result.json"))
    ]
    values = {result["seed"]: result["metrics"]["val/accuracy"] for result in results}
    assert trial.user_attrs["values"] == [values[3], values[5]]
    assert trial.value == pytest.approx((values[3] + values[5]) / 2)


def test_an_interrupted_search_ends_as_an_undisturbed_one(
    command, tmp_path, monkeypatch, capsys
):
    words = [*SEARCH, *SPACE, "hydra.sweeper.n_trials=3", "hydra.sweeper.seeds=[0]"]
    assert command(*words) == 0
    expected = table(tmp_path)
    folder = tmp_path / "again"
    folder.mkdir()
    monkeypatch.chdir(folder)
    _stop_in_run(monkeypatch, 2)
    assert command(*words) == 143
    assert (
        "stopped by SIGTERM; run the same command again to resume"
        in capsys.readouterr().err
    )
    assert [trial.state for trial in trials(folder)] == [
        TrialState.COMPLETE,
        TrialState.RUNNING,
    ]
    assert command(*words) == 0
    assert table(folder) == expected


def _stop_in_run(monkeypatch, number):
    """SIGTERM comes in the run of this number, the first of this process being 1."""
    from normlab.training.callbacks import Scoring

    begun, original = [], Scoring.on_train_start

    def count(self, *arguments):
        original(self, *arguments)
        begun.append(1)
        if len(begun) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Scoring, "on_train_start", count)


@pytest.mark.slow
def test_workers_train_several_trials_at_a_time(command, tmp_path):
    words = [
        *SEARCH,
        *SPACE,
        "hydra/launcher=queue",
        "hydra.launcher.workers=2",
        "hydra.sweeper.seeds=[0]",
    ]
    words.append(
        f"paths.outputs={tmp_path / 'outputs'}"
    )  # workers start in the folder in which pytest did
    pruner = [
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=1",
        "trainer.max_epochs=2",
    ]
    assert command(*words, *pruner, "hydra.sweeper.n_trials=4") == 0
    found = trials(tmp_path)
    assert [list(trial.intermediate_values) for trial in found] == [[1, 2]] * 4
    starts, ends = (
        [trial.datetime_start for trial in found],
        [trial.datetime_complete for trial in found],
    )
    assert max(starts[:2]) < min(ends[:2])
    assert max(starts[2:]) < min(ends[2:])


def test_a_pruned_trial_runs_none_of_its_other_seeds(command, tmp_path, capsys):
    pruner = [
        "hydra.sweeper.pruner={_target_:optuna.pruners.ThresholdPruner,lower:2.0}",
        "trainer.max_epochs=2",
    ]
    words = [
        *SEARCH,
        *SPACE,
        *pruner,
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.seeds=[0,1]",
    ]
    assert command(*words) == 0
    assert {trial.state for trial in trials(tmp_path)} == {TrialState.PRUNED}
    assert len(list(tmp_path.glob("outputs/*/*/config.yaml"))) == 2
    assert not list(tmp_path.glob("outputs/*/*/result.json"))
    assert "no trial has finished" in capsys.readouterr().out


def test_failed_and_diverged_trials_are_named(command, tmp_path, capsys):
    words = [
        *SEARCH,
        "dataset.batch_size=choice(1)",
        "hydra.sweeper.n_trials=1",
        "hydra.sweeper.seeds=[0]",
    ]
    assert command(*words) == 1
    out, err = capsys.readouterr()
    assert (
        "failed  trial 0, batch_size=1: seed 0: model=mlp norm=custom "
        "cannot take batches of 1 x" in out
    )
    assert (
        "1/1  batch_size=1  failed  seed 0: model=mlp norm=custom "
        "cannot take batches of 1 x" in err
    )
    words = [
        *SEARCH,
        "norm=none",
        "optimizer.lr=choice(100000)",
        "hydra.sweeper.seeds=[0,1]",
    ]
    assert command(*words, "hydra.sweeper.n_trials=1") == 0
    assert "val/accuracy 0.0000  2 of 2 runs diverged" in capsys.readouterr().err


def test_settings_that_cannot_be_combined_are_refused_first(command, capsys):
    words = [
        *SEARCH,
        "optimizer=sgd,adam",
        "optimizer.momentum=0.5",
        "hydra.sweeper.seeds=[0]",
    ]
    assert command(*words, "hydra.sweeper.n_trials=2") == 2
    assert "no key 'optimizer.momentum'" in capsys.readouterr().err


def test_dry_run_shows_the_space_and_writes_nothing(command, tmp_path, capsys):
    words = [*SEARCH, *SPACE, "hydra.sweeper.n_trials=2", "hydra.sweeper.seeds=[0]"]
    assert command(*words, "dry_run=true") == 0
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.splitlines() == [
        "search in outputs/digits-mlp/search-sgd",
        "maximize val/accuracy, mean of 1 seed: 2 trials, 0 done",
        "  optimizer.lr  tag(log, interval(0.001, 1.0))",
        "  norm          none,custom",
    ]
    assert command(*words, "hydra.sweeper.n_trials=1") == 0
    capsys.readouterr()
    assert command(*words, "dry_run=true") == 0
    _, first, *_, last = capsys.readouterr().out.splitlines()
    assert first.endswith(": 2 trials, 1 done")
    assert last.startswith("about ")
    assert last.endswith(" s left, by the finished trials")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lr=0.1"], "a search needs a setting to vary"),
        (
            ["optimizer.lr=interval(-1, 1)"],
            "optimizer.lr must be a number above 0, got -1.0",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "hydra.sweeper.n_trials=0"],
            "n_trials must be a whole number of at least 1",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "hydra/sweeper/sampler=tpee"],
            "hydra/sweeper/sampler=tpee does not exist",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "hydra.sweeper.metric=test/accuracy"],
            "must be a validation metric",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "hydra.sweeper.ntrials=3"],
            "no key 'hydra.sweeper.ntrials'",
        ),
        (
            ["norm=none,torhc,custom"],
            "norm=torhc does not exist, did you mean 'torch'?",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "seed=0,1"],
            "hydra.sweeper.seeds=[0,1,2] names the seeds of every trial",
        ),
        (
            ["optimizer.lr=interval(0.1, 1)", "rerun=true"],
            "rerun=true would train interrupted trials from the start",
        ),
        (
            [
                "optimizer.lr=interval(0.1, 1)",
                "hydra.sweeper.sampler._target_=os.system",
            ],
            "hydra.sweeper.sampler._target_ must be a class of optuna.samplers",
        ),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(
    command, tmp_path, capsys, words, message
):
    assert command(*SEARCH, *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_without_optuna_the_extra_is_named(command, monkeypatch, capsys):
    module = sys.modules["hydra_plugins.normlab_optuna_sweeper"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert command(*SEARCH, *SPACE) == 2
    assert (
        "needs the package optuna, which is not installed: "
        "pip install optuna" in capsys.readouterr().err
    )


def test_a_full_disk_ends_a_search_with_one_line(
    command, tmp_path, monkeypatch, capsys
):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("normlab.search.journal.JournalFileBackend.append_logs", full)
    assert command(*SEARCH, *SPACE) == 1
    assert capsys.readouterr().err == (
        "no space is left on the disk of outputs/digits-mlp/search-sgd: make room; "
        "run the same command again to resume\n"
    )


def test_a_search_can_be_written_in_a_file_of_its_own(command, tmp_path, capsys):
    own = tmp_path / "my_conf/hydra/sweeper/mine.yaml"
    own.parent.mkdir(parents=True)
    lines = ["defaults: [optuna, _self_]", "n_trials: 1", "seeds: [7]", "params:"]
    lines += [
        "  model.hidden: '[8],[16]'",
        "  optimizer.lr: 0.25",
        "  optimizer.momentum: choice(0, 0.5)",
    ]
    own.write_text("\n".join(lines))
    quick = SEARCH[2:]
    (tmp_path / "more").mkdir()
    search_path = f"hydra.searchpath=['file://{tmp_path}/more']"
    assert (
        command(
            "-m",
            f"--config-dir={tmp_path / 'my_conf'}",
            search_path,
            "hydra/sweeper=mine",
            *quick,
            "optimizer.momentum=0.5",
        )
        == 0
    )
    best = yaml.safe_load(
        (tmp_path / "outputs/digits-mlp/search-custom-sgd/best.yaml").read_text()
    )
    assert list(best["params"]) == ["model.hidden"]
    words = shlex.split(best["command"])
    assert words[:6] == [
        "python",
        "train.py",
        "-m",
        "--config-dir",
        str(tmp_path / "my_conf"),
        search_path,
    ]
    assert "--config-dir" not in words[4:]
    assert {"optimizer.lr=0.25", "optimizer.momentum=0.5", "seed=range(8,18)"} < set(
        words
    )
    capsys.readouterr()
    assert (
        command(*words[2:-1], "seed=7") == 0
    )  # by the command itself, but with the seed of the search
    assert f"{best['value']:.4f}" in capsys.readouterr().out
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 1


def test_another_space_needs_another_name(command, tmp_path, capsys):
    few = ["hydra.sweeper.n_trials=1", "hydra.sweeper.seeds=[0]"]
    assert command(*SEARCH, *SPACE, *few) == 0
    capsys.readouterr()
    other = ["optimizer.lr=tag(log, interval(0.001, 10))", "norm=none,custom"]
    assert command(*SEARCH, *other, *few) == 2
    assert (
        "optimizer.lr=tag(log, interval(0.001, 1.0)) then, "
        "tag(log, interval(0.001, 10.0)) now" in (capsys.readouterr().err)
    )
    assert command(*SEARCH, *other, *few, "hydra.sweeper.study_name=wider") == 0
    assert len(trials(tmp_path, "wider")) == 1


def start(folder, *words):
    words = [*SEARCH, *SPACE, "hydra.sweeper.seeds=[0]", *words]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_in_a_trial(process, folder, number):
    """Kill a search while it works on this trial or a later one."""
    journal = folder / "outputs/digits-mlp/search-sgd/study.journal"
    while True:
        assert process.poll() is None, "the search ended before"
        process.send_signal(signal.SIGSTOP)  # so that nothing changes between looks
        states = [trial.state for trial in trials(folder)] if journal.is_file() else []
        if len(states) >= number and states[-1] == TrialState.RUNNING:
            process.kill()
            process.communicate()
            return
        process.send_signal(signal.SIGCONT)
        time.sleep(0.1)


@pytest.mark.slow
def test_two_processes_finish_a_killed_search_with_no_trial_twice(command, tmp_path):
    words = ["hydra.sweeper.n_trials=6"]
    kill_in_a_trial(start(tmp_path, *words), tmp_path, 2)
    assert TrialState.RUNNING in {trial.state for trial in trials(tmp_path)}
    both = [start(tmp_path, *words) for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    found = trials(tmp_path)
    # A trial whose process was killed before it had parameters does not count.
    assert len(found) == 6
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert len({str(trial.params) for trial in found}) == 6
    # How many each process does depends on which one starts faster. The states above
    # show that no trial was done twice.
    assert sum(lines.count("finished  val/accuracy") for _, lines in ended) >= 4


def test_the_plugin_file_imports_nothing_heavy():
    """Hydra imports it at the start of every command."""
    tree = ast.parse((ROOT / "src/hydra_plugins/normlab_optuna_sweeper.py").read_text())
    names = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    names += [
        alias.name
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert {name.partition(".")[0] for name in names} <= {
        *sys.stdlib_module_names,
        "hydra",
        "omegaconf",
        "hydra_plugins",
    }
