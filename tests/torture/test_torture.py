"""The fast part of the torture: one kill at every kind of change to files.

The whole of it is in harness.py.
"""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the harness is run as a script

import damages  # noqa: E402
import kills  # noqa: E402
import mutations  # noqa: E402
import subjects  # noqa: E402
from harness import SHORT, STOPPING  # noqa: E402
from kill_points import KillPoints  # noqa: E402
from runs import configuration, undisturbed  # noqa: E402

needs_minutes = pytest.mark.skipif(
    "NORMLAB_TORTURE" not in os.environ,
    reason="takes minutes with the others of its kind: set NORMLAB_TORTURE=1",
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("torture")


@pytest.fixture(scope="module")
def config():
    return configuration(*SHORT)


@pytest.fixture(scope="module")
def expected(config, scratch):
    """What comes out of an undisturbed run."""
    return undisturbed(config, scratch)


@pytest.fixture(scope="module")
def changes(config, scratch):
    """Names of the changes that such a run makes to its files."""
    return kills.changes_of(config, scratch)


@pytest.fixture(scope="module")
def finished(scratch):
    """Files of a run that has ended."""
    return subjects.of_finished_runs(scratch / "finished")


MORE_CHANGES = [
    "half of metrics.csv",
    "rename previous.ckpt",
    "fsync temporary file of last.ckpt",
    "rename last.ckpt",
    "half of temporary file of best.ckpt",
    "half of temporary file of result.json",
    "rename result.json",
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "half of temporary file of last.ckpt",
        "rename best.ckpt",
        *(pytest.param(name, marks=needs_minutes) for name in MORE_CHANGES),
    ],
)
def test_killed_at_a_change_to_files(config, scratch, expected, changes, change):
    (number,) = [
        number for number in kills.one_of_each(changes) if changes[number - 1] == change
    ]
    assert kills.at_changes(config, scratch, [number], expected) == {
        "kills": 1,
        "wrong": [],
    }


@needs_minutes
def test_killed_while_stopping_early(tmp_path):
    """Before there is a state that says that the run has ended, and after."""
    kinds = [
        "half of temporary file of last.ckpt",
        "half of temporary file of best.ckpt",
    ]
    assert kills.while_stopping_early(configuration(*STOPPING), tmp_path, kinds) == {
        "kills": 2,
        "wrong": [],
    }


@needs_minutes
def test_two_processes_at_once(config, scratch, expected):
    assert kills.together(config, scratch, expected)["wrong"] == []


@pytest.mark.parametrize(
    "name",
    [
        "one bit of it",
        "a hostile checkpoint",
        pytest.param("both truncated", marks=needs_minutes),
        pytest.param("half a row in every log", marks=needs_minutes),
    ],
)
def test_damaged_files(config, scratch, expected, changes, name):
    assert damages.damaged(config, scratch, expected, changes, [name]) == {
        "damages": 1,
        "wrong": [],
    }


def test_every_file_of_a_run_folder_is_damaged(finished):
    subject = finished["result.json"]
    folder = (subject.outputs / subject.file).parent
    kinds = set()
    for path in folder.rglob("*"):
        if path.is_file():
            kinds.add("events" if path.name.startswith("events.out.") else path.name)
    assert {"metrics.csv", "previous.ckpt", "events"} < kinds
    assert kinds <= {*subjects.SHARES, *subjects.UNREAD}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "result.json",
        *(
            pytest.param(kind, marks=needs_minutes)
            for kind in subjects.FINISHED
            if kind != "result.json"
        ),
    ],
)
def test_files_of_a_finished_run_damaged_at_random(finished, tmp_path, kind):
    figures = mutations.mutate([finished[kind]], tmp_path, number=3)
    assert (figures["mutations"], figures["wrong"]) == (3, [])


def test_a_full_disk(config, scratch, expected):
    figures = damages.full_disk(config, scratch, expected, [300])
    if figures is None:
        pytest.skip("no disk may be mounted here")
    assert figures == {"disks": 1, "of them full": 1, "wrong": []}


@needs_minutes
def test_every_change_is_counted_before_it_is_made(tmp_path, monkeypatch):
    """Writing atomically, in this process, dying nowhere."""
    import builtins
    import os

    from normlab.results import write_atomically

    for module, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "rename"),
        (os, "unlink"),
        (os, "rmdir"),
        (builtins, "open"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    names = tmp_path.parent / "names"
    KillPoints(tmp_path, names=names).install()
    write_atomically(tmp_path / "last.ckpt", b"content")
    assert (tmp_path / "last.ckpt").read_bytes() == b"content"
    temporary = "temporary file of last.ckpt"
    assert names.read_text().splitlines() == [
        *(f"{what} {temporary}" for what in ("open", "half of", "fsync")),
        "rename last.ckpt",
        f"delete {temporary}",
    ]
