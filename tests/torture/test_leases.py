"""Runs on file systems without locks: one process trains, whatever happens to it."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # its modules are those of a script

from harness import SHORT  # noqa: E402
from runs import at, configuration, outcome, undisturbed  # noqa: E402
from without_locks import PAUSES, Run  # noqa: E402

from normlab.config.identity import run_folder  # noqa: E402

pytestmark = pytest.mark.slow
FEW_PAUSES = ("before last.ckpt is renamed", "before a row is appended")
needs_minutes = pytest.mark.skipif(
    "NORMLAB_TORTURE" not in os.environ,
    reason="takes minutes with the others of its kind: set NORMLAB_TORTURE=1",
)


@pytest.fixture(scope="module")
def config():
    return configuration(*SHORT)


@pytest.fixture(scope="module")
def expected(config, tmp_path_factory):
    """What comes out of an undisturbed run."""
    return undisturbed(config, tmp_path_factory.mktemp("undisturbed"))


def contents(folder):
    """Every file of a folder with its bytes, without the leases."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def test_of_two_processes_one_trains_and_the_other_waits(config, expected, tmp_path):
    config = at(config, tmp_path / "outputs") | {"progress": True}
    both = [Run(config, tmp_path / name) for name in ("first", "second")]
    assert [run.ended() for run in both] == ["finished", "finished"]
    trained = [run for run in both if "epoch 2/2" in run.printed]
    waited = [run for run in both if "waiting for it to end" in run.printed]
    assert len(trained) == 1
    assert len(waited) == 1
    assert trained != waited
    pid = trained[0].process.pid
    assert f"process {pid} on " in waited[0].printed
    told = [run.printed.count("on a file system without locks") for run in both]
    assert sum(told) == 1
    assert outcome(run_folder(config)) == expected


def test_the_lease_of_a_killed_process_is_taken_over(config, expected, tmp_path):
    config = at(config, tmp_path / "outputs")
    killed = Run(config, tmp_path / "killed", 2, "before last.ckpt is renamed")
    killed.wait_until_stopped()
    killed.kill()
    second = Run(config, tmp_path / "second", 2)
    assert second.ended() == "finished"
    assert "waiting for it to end" in second.printed
    assert outcome(run_folder(config)) == expected
    assert not list(run_folder(config).glob("*.lease.*"))


@pytest.mark.parametrize(
    "pause",
    [
        pytest.param(name, marks=() if name in FEW_PAUSES else needs_minutes)
        for name in PAUSES
    ],
)
def test_a_process_that_was_paused_too_long_writes_nothing(
    config, expected, tmp_path, pause
):
    config = at(config, tmp_path / "outputs")
    paused = Run(config, tmp_path / "paused", 1, pause)
    paused.wait_until_stopped()
    second = Run(config, tmp_path / "second", 1)
    assert second.ended() == "finished"
    folder = run_folder(config)
    before = contents(folder)
    assert outcome(folder) == expected
    paused.resume()
    assert paused.ended() == "finished"  # with the result of the other process
    assert "another process has taken over" in paused.printed
    assert contents(folder) == before
