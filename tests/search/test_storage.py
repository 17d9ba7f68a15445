import json
import sys

import optuna
import pytest
from filelock import FileLock
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from normlab.checksums import file_digests
from normlab.results import write_result
from normlab.search.definition import define
from normlab.search.objective import Outcome
from normlab.search.options import Options
from normlab.search.storage import (
    Search,
    begun_trials,
    find_name,
    load_optuna_study,
    open_storage,
    storage_address,
)

SPACE = {
    "optimizer.lr": FloatDistribution(0.001, 1.0, log=True),
    "norm": CategoricalDistribution(["none", "custom"]),
}
CONFIG = {
    "trainer": {"max_epochs": 2},
    "norm": {"eps": 1e-5},
    "seed": 0,
    "paths": {"outputs": "a"},
    "trial": None,
}


def options(**changes):
    sampler = {
        "_target_": "optuna.samplers.TPESampler",
        "seed": 0,
        "n_startup_trials": 2,
    }
    given = {
        "n_trials": 6,
        "n_jobs": None,
        "seeds": [0, 1],
        "metric": None,
        "direction": None,
    }
    given |= {
        "study_name": None,
        "storage": "journal",
        "sampler": sampler,
        "pruner": None,
    }
    return Options(**given | changes)


def definition(space=SPACE, **changes):
    return define(space, "val/accuracy", "maximize", [0, 1], CONFIG | changes)


def search(folder, retry=False, **changes):
    return Search(folder, "a search", options(**changes), SPACE, definition(), retry)


def score(trial):
    lr, norm = trial.params["optimizer.lr"], trial.params["norm"]
    return Outcome(
        "finished", (norm == "custom") - abs(lr - 0.1), None, [0.5, 0.5], 1.0
    )


FAILED = Outcome("failed", None, "seed 0: no memory", [], 0.0)


def work(searching, most=None):
    """Take and record trials until there are none; their numbers and parameters."""
    done = []
    while len(done) != most and (trial := searching.take()) is not None:
        done.append((trial.number, trial.params))
        searching.record(trial, score(trial))
    return done


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_a_resumed_search_has_the_trials_of_an_undisturbed_one(tmp_path, storage):
    with search(tmp_path / "undisturbed", storage=storage) as one:
        expected = work(one)
    assert [number for number, _ in expected] == list(range(6))
    assert len({str(params) for _, params in expected}) == 6
    with search(tmp_path / "stopped", storage=storage) as one:
        first = work(one, most=3)
        interrupted = one.take()
    with search(tmp_path / "stopped", storage=storage) as one:
        rest = work(one)
    assert [*first, *rest] == expected
    assert rest[0] == (interrupted.number, interrupted.params)
    with search(tmp_path / "stopped", storage=storage) as one:
        assert one.take() is None
        assert [(trial.number, trial.params) for trial in one.trials] == expected
        assert {trial.state for trial in one.trials} == {TrialState.COMPLETE}
        assert not list((tmp_path / "stopped").glob(".trial-*"))
    with search(tmp_path / "stopped", storage=storage, n_trials=8) as one:
        assert [number for number, _ in work(one)] == [6, 7]


def test_two_processes_share_the_trials(tmp_path):
    with search(tmp_path) as one, search(tmp_path) as two:
        taken = [searching.take() for searching in (one, two, one, two, one, two)]
        assert [trial.number for trial in taken] == list(range(6))
        assert len({str(trial.params) for trial in taken}) == 6
        assert one.take() is None
        assert two.take() is None
        one.record(taken[0], score(taken[0]))
        assert two.trials[0].value == score(taken[0]).value


def test_a_trial_is_taken_over_only_after_its_process_ended(
    tmp_path,
):
    with search(tmp_path, n_trials=1) as one:
        trial = one.take()
        with search(tmp_path, n_trials=1) as two:
            assert two.take() is None
    with search(tmp_path, n_trials=1) as two:
        again = two.take()
        assert (again.number, again.params) == (trial.number, trial.params)
        two.record(again, score(again))
        assert [trial.state for trial in two.trials] == [TrialState.COMPLETE]


def test_a_trial_of_a_process_killed_on_another_machine_is_taken_over(tmp_path, lease):
    with search(tmp_path, n_trials=1) as one:
        trial = one.take()
    lease(tmp_path)
    with search(tmp_path, n_trials=1) as two:
        assert not two.watch_leases()  # there is none yet
        assert two.take() is None
        assert two.watch_leases()
        again = two.take()
        assert (again.number, again.params) == (trial.number, trial.params)
        two.record(again, score(again))
        assert not two.watch_leases()
        assert not list(tmp_path.glob(".trial-*"))


def test_a_trial_whose_lease_is_renewed_is_left_to_its_process(tmp_path, lease):
    with search(tmp_path, n_trials=1) as one:
        one.take()
    lease(tmp_path)
    with search(tmp_path, n_trials=1) as two:
        assert two.take() is None
        assert two.watch_leases()
        lease(tmp_path, renewals=4)
        assert two.take() is None


def test_locks_of_the_file_system_are_not_waited_for(tmp_path):
    with search(tmp_path, n_trials=1) as one, search(tmp_path, n_trials=1) as two:
        one.take()
        assert two.take() is None
        assert not two.watch_leases()


def test_a_trial_that_has_just_ended_is_not_taken_over(tmp_path):
    with search(tmp_path) as one, search(tmp_path) as two:
        trial, claim = one.take(), two._claim

        def claim_late(number):
            if number in one.locks:
                one.record(trial, score(trial))
            return claim(number)

        two._claim = claim_late
        assert two.take().number == 1
        assert [trial.state.name for trial in one.trials] == ["COMPLETE", "RUNNING"]


def test_a_trial_taken_over_has_the_pruner_of_its_new_process(tmp_path):
    pruner = {"_target_": "optuna.pruners.MedianPruner"}
    with search(tmp_path) as one:
        one.optuna_study.ask(SPACE)  # killed at once
    with search(tmp_path, pruner=pruner) as two:
        assert two.take().user_attrs["pruner"] == pruner


def test_a_trial_killed_before_it_had_parameters_does_not_count(tmp_path):
    with search(tmp_path / "undisturbed") as one:
        expected = [params for _, params in work(one)]
    with search(tmp_path / "killed") as one:
        one.optuna_study.ask({"norm": SPACE["norm"]})
    with search(tmp_path / "killed") as one:
        assert [params for _, params in work(one)] == expected
        assert [trial.number for trial in one.trials] == [1, 2, 3, 4, 5, 6]
        assert one.optuna_study.trials[0].state == TrialState.FAIL


def test_failed_trials_count_and_are_retried_on_demand(tmp_path):
    with search(tmp_path, n_trials=3) as one:
        for outcome in (FAILED, None, FAILED):
            trial = one.take()
            one.record(trial, outcome or score(trial))
        assert one.take() is None
    with search(tmp_path, n_trials=3) as one:
        assert one.take() is None
        assert [trial.user_attrs["reason"] for trial in one.trials] == [
            "seed 0: no memory",
            None,
            "seed 0: no memory",
        ]
        failed = [one.trials[0].params, one.trials[2].params]
    with search(tmp_path, retry=True, n_trials=3) as one:
        first = one.take()
        assert first.params == failed[0]
        one.record(first, FAILED)
        second = one.take()
        assert second.params == failed[1]
        one.record(second, score(second))
        assert one.take() is None
        assert [trial.number for trial in one.trials] == [1, 3, 4]
        assert [trial.state.name for trial in one.trials] == [
            "COMPLETE",
            "FAIL",
            "COMPLETE",
        ]


def test_lost_trials_are_retried_by_the_same_command(tmp_path):
    lost = Outcome(
        "failed",
        None,
        "seed 0: its worker process was ended by SIGKILL",
        [],
        0.0,
        lost=True,
    )
    with search(tmp_path, n_trials=2) as one:
        first, second = one.take(), one.take()
        one.record(first, lost)
        one.record(second, FAILED)
        assert one.take() is None
    with search(tmp_path, n_trials=2) as one:
        again = one.take()
        assert again.params == first.params
        one.record(again, score(again))
        assert one.take() is None
        assert [trial.state.name for trial in one.trials] == ["FAIL", "COMPLETE"]


def test_fewer_trials_than_before_hide_no_lost_one(tmp_path):
    lost = Outcome("failed", None, "killed", [], 0.0, lost=True)
    with search(tmp_path, n_trials=3) as one:
        trials = [one.take() for _ in range(3)]
        one.record(trials[0], lost)
        one.record(trials[1], score(trials[1]))
        one.record(trials[2], score(trials[2]))
    with search(tmp_path, n_trials=2) as one:
        assert one.take() is None
        states = [trial.state.name for trial in one.trials]
        assert states == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_pruned_trial_has_no_value_and_counts(tmp_path):
    with search(tmp_path, n_trials=1) as one:
        one.record(one.take(), Outcome("pruned", None, "pruned after epoch 1", [], 1.0))
        assert one.take() is None
        assert one.trials[0].state == TrialState.PRUNED


def test_another_definition_is_refused_with_the_difference(tmp_path):
    with search(tmp_path):
        pass
    wider = SPACE | {"optimizer.lr": FloatDistribution(0.001, 10.0, log=True)}
    with pytest.raises(ValueError) as caught:
        Search(tmp_path, "a search", options(), wider, definition(wider))
    assert str(caught.value) == (
        f"the search in {tmp_path} was started with other settings: "
        "optimizer.lr=tag(log, interval(0.001, 1.0)) then, "
        "tag(log, interval(0.001, 10.0)) now. "
        "Name this one with hydra.sweeper.study_name, or delete that folder"
    )


def test_a_study_of_another_program_is_refused(tmp_path):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    optuna.create_study(
        study_name="a search", storage=storage, direction="maximize"
    ).ask()
    with pytest.raises(ValueError, match="another program started it"):
        search(tmp_path)


def test_half_a_line_at_the_end_of_the_journal_is_cut_off(tmp_path):
    with search(tmp_path / "undisturbed") as one:
        expected = work(one)
    with search(tmp_path / "torn") as one:
        work(one, most=3)
    journal = tmp_path / "torn" / "study.journal"
    lines = journal.read_bytes()
    journal.write_bytes(lines + b'{"op_code":4,"worker')
    with search(tmp_path / "torn") as one:
        assert work(one) == expected[3:]
    assert journal.read_bytes().startswith(lines)
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_search_keeps_no_lock_on_its_journal(tmp_path):
    with search(tmp_path) as one:
        work(one, most=1)
    with FileLock(tmp_path / "study.journal.lock").acquire(timeout=0):
        pass


def test_the_epochs_of_a_stored_run_are_reported_afterwards(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,val/accuracy\n1,0.5\n2,0.75\n")
    with search(tmp_path) as one:
        trial = one.take()
        trial.report(0.25, 1)
        one.report_epochs(trial, tmp_path, "val/accuracy")
        assert one.trials[0].intermediate_values == {1: 0.25, 2: 0.75}


def test_of_a_curve_that_was_changed_nothing_is_reported(tmp_path, capsys):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,val/accuracy\n1,0.5\n2,0.75\n")
    stored = {"status": "finished", "files": file_digests(tmp_path)}
    write_result(tmp_path, stored)
    path.write_text("epoch,val/accuracy\n1,0.5\n2,0.15\n")
    with search(tmp_path) as one:
        trial = one.take()
        one.report_epochs(trial, tmp_path, "val/accuracy")
        assert one.trials[0].intermediate_values == {}
    message = capsys.readouterr().err
    assert "the pruner does not learn of a run's epochs" in message
    assert f"{path} was changed after the run ended" in message


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_looking_for_a_search_creates_no_file(tmp_path, storage):
    with search(tmp_path, storage=storage) as one:
        address = one.address
    assert (
        load_optuna_study(address, "a search").user_attrs["definition"] == definition()
    )
    assert load_optuna_study(address, "another") is None
    absent = address.replace("study.", "absent.")
    assert load_optuna_study(absent, "a search") is None
    assert not list(tmp_path.glob("absent*"))


def test_trials_that_were_tried_again_do_not_count():
    def trial(number, state, **attributes):
        finished = {"value": 1.0} if state == TrialState.COMPLETE else {}
        made = optuna.create_trial(state=state, user_attrs=attributes, **finished)
        made.number = number
        return made

    complete, waiting = trial(0, TrialState.COMPLETE), trial(1, TrialState.WAITING)
    failed, again = (
        trial(2, TrialState.FAIL, reason="a"),
        trial(3, TrialState.RUNNING, repeats=2),
    )
    unborn = trial(4, TrialState.FAIL)
    assert begun_trials([complete, waiting, failed, again, unborn]) == [complete, again]


def test_addresses_of_storages(tmp_path):
    assert storage_address("journal", tmp_path) == f"{tmp_path}/study.journal"
    assert storage_address("sqlite", tmp_path) == f"sqlite:///{tmp_path}/study.db"
    url = "postgresql://me@host/trials"
    assert storage_address(url, tmp_path) == url


def test_a_storage_that_cannot_be_opened_does_not_show_its_password():
    with pytest.raises(ValueError) as caught:
        open_storage("nothing://me:secret@host/trials")
    assert str(caught.value).startswith("hydra.sweeper.storage cannot be opened: ")
    assert "secret" not in str(caught.value)


def test_a_run_is_configured_to_report_to_its_trial(tmp_path):
    with search(tmp_path) as one:
        assert one.callback_config(one.take()) == {
            "_target_": "normlab.search.pruning.ReportToTrial",
            "storage": f"{tmp_path}/study.journal",
            "study": "a search",
            "number": 0,
        }


def choices(dataset):
    return {"choices": {"dataset": dataset, "model": "mlp"}}


def test_groups_that_share_a_database_have_searches_of_their_own(tmp_path):
    address = f"sqlite:///{tmp_path / 'shared.db'}"
    digits = definition(**choices("digits"))
    optuna.create_study(storage=address, study_name="search").set_user_attr(
        "definition", digits
    )
    names = ["digits-mlp/search", "search"]
    assert find_name(address, names, digits) == "search"  # as earlier versions did
    mnist = definition(**choices("mnist"))
    names = ["mnist-mlp/search", "search"]
    assert find_name(address, names, mnist) == "mnist-mlp/search"
    optuna.create_study(storage=address, study_name="digits-mlp/search")
    names = ["digits-mlp/search", "search"]
    assert find_name(address, names, digits) == "digits-mlp/search"


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [
        (
            "postgresql",
            "postgresql:// needs the driver psycopg.*: pip install .*psycopg",
        ),
        (
            "postgresql+psycopg",
            r"the driver psycopg, .*pip install 'psycopg\[binary\]'",
        ),
        ("mysql", "the driver MySQLdb, .* pip install mysqlclient"),
        ("mssql+pymssql", "the driver pymssql, .* pip install pymssql"),
        ("postgres", "did you mean 'postgresql'?"),
    ],
)
def test_a_database_without_a_driver_is_told_which_one_to_install(
    scheme, advice, monkeypatch
):
    for package in ("psycopg2", "psycopg", "MySQLdb", "pymssql"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it was not installed
    with pytest.raises(ValueError, match=advice) as caught:
        open_storage(f"{scheme}://user:secret@host/name")
    assert "secret" not in str(caught.value)
