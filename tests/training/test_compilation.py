"""Compiled networks: shared caches, and time that counts apart. Nothing is compiled."""

import sys
from types import SimpleNamespace

import pytest
from torch import nn

from normlab.training import callbacks, compilation
from normlab.training.callbacks import Scoring
from normlab.training.compilation import (
    CACHE_VARIABLE,
    compile_network,
    compile_seconds,
    share_caches,
)


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """The variables of the process, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Set and removed, so that it is put back if the test sets it.
    monkeypatch.setenv(CACHE_VARIABLE, "")
    monkeypatch.delenv(CACHE_VARIABLE)
    return compilation.os.environ


def test_jobs_of_a_user_share_a_folder_that_is_the_users_alone(environment, tmp_path):
    share_caches()
    folder = tmp_path / "normlab" / "compiled"
    assert environment[CACHE_VARIABLE] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_the_user_has_named_is_kept(environment, tmp_path):
    environment[CACHE_VARIABLE] = "elsewhere"
    share_caches()
    assert environment[CACHE_VARIABLE] == "elsewhere"
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_pytorchs_own_folder_stays(environment, tmp_path):
    (tmp_path / "normlab").write_text("a file in the way")
    share_caches()
    assert CACHE_VARIABLE not in environment


def test_a_network_is_compiled_in_the_asked_mode(environment, monkeypatch):
    asked = []
    network = nn.Linear(1, 1)
    monkeypatch.setattr(network, "compile", lambda mode: asked.append(mode))
    compile_network(network, "max-autotune")
    compile_network(network, None)
    assert asked == ["max-autotune", None]
    assert CACHE_VARIABLE in environment


def test_the_time_of_compiling_is_that_of_pytorchs_table(monkeypatch):
    utils = SimpleNamespace(calculate_time_spent=lambda: {"total_wall_time": 2.5})
    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", utils)
    assert compile_seconds() == 2.5
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils")
    assert compile_seconds() == 0.0


def test_pytorch_has_the_table():
    import torch._dynamo.utils

    assert torch._dynamo.utils.calculate_time_spent()["total_wall_time"] >= 0


def test_speeds_leave_out_the_time_of_compiling(monkeypatch):
    clock = SimpleNamespace(now=0.0, compiled=5.0)
    clock.perf_counter = clock.monotonic = lambda: clock.now
    monkeypatch.setattr(callbacks, "time", clock)
    monkeypatch.setattr(callbacks, "compile_seconds", lambda: clock.compiled)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer = SimpleNamespace(optimizers=[optimizer])
    task = SimpleNamespace(
        unfinished=None,
        progress=SimpleNamespace(blocks=0),
        epoch_samples=20,
        timed_steps=4,
        stack=None,
        clock=lambda: clock.now,
        step_seconds=12.0,
        scoring_seconds=5.0,
        metrics={},
    )

    def score(validation, context):
        clock.now += 5  # of which 3 are compiling
        clock.compiled += 3

    task.close_epoch = score
    scoring = Scoring([])
    scoring.on_train_start(trainer, task)
    scoring.on_train_epoch_start(trainer, task)
    clock.now += 14  # 12 in steps, of which 10 are compiling
    clock.compiled += 10
    scoring.on_train_epoch_end(trainer, task)
    clock.now += 1
    # 20 seconds without 13: 2 in steps, 2 in scoring, 3 elsewhere.
    assert scoring.speed(task) == {
        "samples_per_second": 20 / 4,
        "step_milliseconds": 500.0,
        "outside_share": pytest.approx(3 / 7),
        "compile_seconds": 13.0,
    }
