import importlib
from types import SimpleNamespace

from rich.text import Text

from normlab.sweeps.progress import SweepProgress, job_line, remaining_seconds

from .ended_jobs import ENDED, ended


def plain(line):
    return Text.from_markup(line).plain


def test_the_line_of_a_job():
    assert plain(job_line(ENDED[0], 3, 24, ["norm", "seed"])) == (
        " 3/24  norm=none seed=0  finished  test/accuracy 0.2500"
    )
    assert (
        plain(job_line(ENDED[4], 24, 24, ["norm"]))
        == "24/24  norm=ghost  failed  because"
    )


def test_a_line_for_every_job_with_the_time_left(capsys, monkeypatch):
    # One job is stored, then come 9 s of imports and jobs of 2, 1 and 1 s.
    clock = iter([0.0, 1.0, 12.0, 13.0, 14.0])
    monkeypatch.setattr("normlab.sweeps.progress.time.monotonic", lambda: next(clock))
    with SweepProgress(["seed"], total=4, stored=1) as progress:
        progress.end(ended(seed=0), was_stored=True)
        progress.end(ended(seed=1, seconds=2.0))
        progress.end(ended("failed", seed=2, seconds=0.0))
        progress.end(ended(seed=3))
    first, second, third, last = capsys.readouterr().err.splitlines()
    assert first == "1/4  seed=0  finished  test/accuracy 0.5000"
    assert second.endswith("  4 s left")
    assert third == "3/4  seed=2  failed  because  2 s left"
    assert last.endswith("test/accuracy 0.5000")
    assert progress.failed == 1


def test_the_time_left_of_jobs_in_a_queue_is_that_of_their_training(
    capsys, monkeypatch
):
    """Hours in a queue change nothing; jobs that run side by side share the rest."""
    monkeypatch.setattr("normlab.sweeps.progress.time.monotonic", lambda: 7200.0)
    running = iter([1, 2])
    with SweepProgress(["seed"], 4, 0, lambda: next(running)) as progress:
        progress.end(ended(seed=0, seconds=20.0))
        progress.end(ended(seed=1, seconds=40.0))
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("  60 s left")  # three of 20 s
    assert second.endswith("  30 s left")  # two of 30 s, side by side


def test_the_remaining_time_follows_from_the_pace_so_far():
    assert remaining_seconds(10.0, 0, 4) is None
    assert remaining_seconds(10.0, 1, 4) == 30.0
    assert remaining_seconds(10.0, 4, 4) == 0.0


def test_brackets_in_a_line_are_not_taken_as_markup():
    job = ended("failed", **{"dataset.normalize": "[0,1]"})
    assert plain(job_line(job, 1, 2, ["dataset.normalize"])) == (
        "1/2  normalize=[0,1]  failed  because"
    )


class Cell:
    """The output of a notebook's cell that shows one line after the other."""

    def __init__(self):
        self.shown = []

    def display(self, data, raw, display_id):
        assert raw
        assert display_id
        self.update(data, raw)
        return self

    def update(self, data, raw):
        self.shown.append(data["text/plain"])


def test_in_a_notebook_the_lines_replace_each_other_unless_they_failed(
    capsys, monkeypatch
):
    cell = Cell()
    ipython = importlib.import_module("IPython")
    monkeypatch.setattr(ipython, "get_ipython", lambda: SimpleNamespace(kernel=1))
    monkeypatch.setattr("IPython.display.display", cell.display)
    monkeypatch.setattr("normlab.sweeps.progress.time.monotonic", lambda: 0.0)
    with SweepProgress(["seed"], total=3, stored=0) as progress:
        progress.end(ended("failed", seed=0))
        progress.end(ended(seed=1))
        progress.end(ended(seed=2))
    failed = "1/3  seed=0  failed  because"
    assert cell.shown == [
        failed,
        f"{failed}\n2/3  seed=1  finished  test/accuracy 0.5000",
        f"{failed}\n3/3  seed=2  finished  test/accuracy 0.5000",
    ]
    assert capsys.readouterr().err == ""
