"""Settings of a search, and outcomes of its trials, for several tests."""

from optuna.distributions import CategoricalDistribution, FloatDistribution

from normlab.search.objective import Outcome

SPACE = {
    "optimizer.lr": FloatDistribution(0.0, 1.0),
    "norm": CategoricalDistribution(["none", "custom"]),
}
OPTIONS = {
    "n_trials": 3,
    "n_jobs": None,
    "seeds": [0, 4],
    "metric": None,
    "direction": None,
    "study_name": None,
    "storage": "journal",
    "sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 0},
    "pruner": None,
}


def finished(value, spread=0.0, reason=None):
    return Outcome("finished", value, reason, [value - spread, value + spread], 2.0)


PRUNED = Outcome("pruned", None, "pruned after epoch 1", [], 0.5)
FAILED = Outcome("failed", None, "seed 4: no memory", [0.5], 1.0)


def recorded(searching, *outcomes):
    """The search after it has taken a trial for each of these outcomes."""
    for outcome in outcomes:
        searching.record(searching.take(), outcome)
    return searching
