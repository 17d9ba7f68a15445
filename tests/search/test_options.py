import math

import optuna
import pytest
from hydra.errors import InstantiationException

from normlab.search.options import (
    METRICS,
    Options,
    build_pruner,
    build_sampler,
    resolve_metric,
    worst_value,
)
from normlab.training.classification import Classification
from normlab.training.regression import Regression

TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 0}
GOOD = {
    "n_trials": 3,
    "n_jobs": None,
    "seeds": [0, 1],
    "metric": None,
    "direction": None,
    "study_name": None,
    "storage": "journal",
    "sampler": TPE,
    "pruner": None,
}
CLASSES = {"dataset": {"task": "classification"}, "trainer": {"monitor": None}}
NUMBERS = {"dataset": {"task": "regression"}, "trainer": {"monitor": None}}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "n_trials",
            0,
            "hydra.sweeper.n_trials must be a whole number of at least 1, got 0",
        ),
        ("n_trials", "many", "n_trials must be"),
        ("n_jobs", 0, "hydra.sweeper.n_jobs must be null or at least 1, got 0"),
        (
            "seeds",
            [],
            "hydra.sweeper.seeds must be a list of different seeds such as [0,1,2], "
            "got []",
        ),
        ("seeds", [1, 1], "got [1, 1]"),
        ("seeds", [-1], "got [-1]"),
        ("seeds", 3, "got 3"),
        (
            "direction",
            "up",
            "hydra.sweeper.direction must be null, maximize or minimize, got 'up'",
        ),
        (
            "study_name",
            "a/b",
            "hydra.sweeper.study_name must be null or a file name, got 'a/b'",
        ),
        ("study_name", "..", "got '..'"),
        (
            "storage",
            "postgres",
            "hydra.sweeper.storage must be journal, sqlite or an SQLAlchemy URL, "
            "got 'postgres'",
        ),
        (
            "sampler",
            None,
            "hydra.sweeper.sampler must be a mapping with "
            "_target_: optuna.samplers.NAME, got None",
        ),
        (
            "sampler",
            {},
            "hydra.sweeper.sampler._target_ must be a class of optuna.samplers, "
            "got None",
        ),
        (
            "sampler",
            {"_target_": "optuna.samplers.TPESampleer"},
            "did you mean 'optuna.samplers.TPESampler'?",
        ),
        (
            "sampler",
            {"_target_": "os.system", "command": "true"},
            "must be a class of optuna.samplers",
        ),
        (
            "sampler",
            {"_target_": "optuna.samplers.nsgaii"},
            "must be a class of optuna.samplers",
        ),
        (
            "sampler",
            {"_target_": "optuna.pruners.MedianPruner"},
            "must be a class of optuna.samplers",
        ),
        (
            "sampler",
            {"_target_": "optuna.samplers.GridSampler"},
            "as hydra/sweeper=grid does",
        ),
        (
            "pruner",
            {"_target_": "optuna.samplers.TPESampler"},
            "hydra.sweeper.pruner._target_ must be a class of",
        ),
        (
            "pruner",
            {
                "_target_": "optuna.pruners.PatientPruner",
                "wrapped_pruner": {"_target_": "os.system"},
            },
            "got 'os.system'",
        ),
    ],
)
def test_an_invalid_option_is_refused(option, value, message):
    with pytest.raises(ValueError) as caught:
        Options(**GOOD | {option: value})
    assert message in str(caught.value)


def test_an_unknown_argument_of_a_sampler_is_refused():
    with pytest.raises(
        InstantiationException, match="unexpected keyword argument 'sed'"
    ):
        Options(**GOOD | {"sampler": TPE | {"sed": 1}})


def test_samplers_and_pruners_are_objects_of_optuna():
    assert isinstance(build_sampler(TPE, 0), optuna.samplers.TPESampler)
    assert isinstance(build_pruner(None), optuna.pruners.NopPruner)
    wrapped = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2}
    pruner = build_pruner(
        {
            "_target_": "optuna.pruners.PatientPruner",
            "wrapped_pruner": wrapped,
            "patience": 1,
        }
    )
    assert isinstance(pruner, optuna.pruners.PatientPruner)


def first_value(sampler):
    study = optuna.create_study(sampler=sampler)
    return study.ask({"a": optuna.distributions.FloatDistribution(0, 1)}).params["a"]


def test_the_seed_of_a_trial_follows_from_the_seed_and_its_number():
    values = [
        first_value(build_sampler(TPE | {"seed": seed}, number))
        for seed, number in ((0, 0), (0, 1), (1, 0))
    ]
    assert len(set(values)) == 3
    assert first_value(build_sampler(TPE, 1)) == values[1]


def test_points_of_a_quasi_random_sequence_come_from_one_seed():
    options = {"_target_": "optuna.samplers.QMCSampler", "seed": 0, "scramble": True}
    study = optuna.create_study()
    space = {
        "a": optuna.distributions.FloatDistribution(0, 1),
        "b": optuna.distributions.FloatDistribution(0, 1),
    }
    for number in range(9):
        study.sampler = build_sampler(options, number)
        study.tell(study.ask(space), 0.0)
    numbers = [
        trial.params["a"] for trial in study.trials[1:]
    ]  # the first finds the space
    assert sorted(int(number * 8) for number in numbers) == list(range(8))


# Then a run has every score after every epoch.
SCORE = {"monitor": "val/nll"}


def test_metrics_are_those_of_the_tasks():
    assert {
        "classification": Classification.metric_names,
        "regression": Regression.metric_names,
    } == METRICS


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        (CLASSES, {}, ("val/accuracy", "maximize")),
        (NUMBERS, {}, ("val/loss", "minimize")),
        (CLASSES, {"metric": "val/loss"}, ("val/loss", "minimize")),
        (CLASSES | {"trainer": {"monitor": "val/loss"}}, {}, ("val/loss", "minimize")),
        (NUMBERS, {"metric": "val/r2"}, ("val/r2", "maximize")),
        (CLASSES | {"trainer": SCORE}, {}, ("val/nll", "minimize")),
        (
            CLASSES | {"trainer": SCORE},
            {"metric": "val/macro_f1"},
            ("val/macro_f1", "maximize"),
        ),
        (
            CLASSES | {"trainer": SCORE | {"monitor_mode": "max"}},
            {},
            ("val/nll", "maximize"),
        ),
        (
            NUMBERS,
            {"metric": "val/rmse", "direction": "maximize"},
            ("val/rmse", "maximize"),
        ),
    ],
)
def test_the_metric_is_the_one_that_picks_the_best_epoch(config, options, expected):
    assert resolve_metric(Options(**GOOD | options), config) == expected


def test_trials_do_not_end_by_the_test_part():
    for stop_at, is_refused in (("test/loss=1", True), ("val/loss=1", False)):
        trainer = {"monitor": None, "stop_at": stop_at}
        config = CLASSES | {"trainer": trainer}
        if not is_refused:
            assert resolve_metric(Options(**GOOD), config)[0] == "val/accuracy"
            continue
        with pytest.raises(ValueError, match="^trainer.stop_at must have a metric of"):
            resolve_metric(Options(**GOOD), config)


@pytest.mark.parametrize(
    ("metric", "monitor", "message"),
    [
        (
            "test/accuracy",
            None,
            "must be a validation metric, got 'test/accuracy': "
            "test data that chose the settings",
        ),
        (
            "val/acc",
            None,
            "hydra.sweeper.metric must be null or one of val/accuracy, val/loss, "
            "got 'val/acc'",
        ),
        ("val/rmse", None, "must be null or one of val/accuracy, val/loss"),
        ("val/auroc", None, "one of val/accuracy, val/loss, got 'val/auroc'"),
        ("train/accuracy", None, "must be null or one of val/accuracy, val/loss"),
        (None, "val/acc", "trainer.monitor must be null or one of"),
    ],
)
def test_a_metric_that_must_not_be_tuned_on_is_refused(metric, monitor, message):
    with pytest.raises(ValueError) as caught:
        resolve_metric(
            Options(**GOOD | {"metric": metric}),
            CLASSES | {"trainer": {"monitor": monitor}},
        )
    assert message in str(caught.value)


def test_the_worst_value_is_on_the_wrong_side():
    assert worst_value("val/accuracy", "maximize") == 0.0
    assert worst_value("val/loss", "minimize") == math.inf
    assert worst_value("val/r2", "maximize") == -math.inf
