"""Runs that several tests of figures draw."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab import metrics
from normlab.compare import compare, load_runs


@pytest.fixture(autouse=True)
def no_declared_metrics(monkeypatch):
    """Metrics that one test declares are unknown to the next."""
    monkeypatch.setattr(metrics, "_declared", {})


@pytest.fixture
def grid(tmp_path):
    for lr in (0.01, 0.1, 1.0):
        for seed in range(3):
            for norm, gain in (("none", 0.0), ("custom", 0.02)):
                value = 0.9 + gain + 0.001 * seed - 0.01 * abs(np.log10(lr) + 1)
                status = "diverged" if norm == "none" and lr == 1.0 else "finished"
                settings = {"optimizer.lr": lr}
                write_run(
                    tmp_path,
                    norm,
                    seed,
                    value,
                    status,
                    settings,
                    curve=[0.5, 0.7, value],
                    layers=True,
                )
    return compare(load_runs(tmp_path))
