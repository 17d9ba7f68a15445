"""TensorBoard's event files: opened once, complete after every flush."""

import pathlib

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import (
    LegacyEventFileLoader,
)

from normlab import event_files, locks
from normlab.endings import LeaseLost
from normlab.event_files import EventLogger


@pytest.fixture
def openings(monkeypatch):
    """Names of the files that were opened."""
    names = []
    original = pathlib.Path.open

    def count(path, *arguments, **options):
        names.append(str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, "open", count)
    return names


def scalars(folder, tag):
    events = EventAccumulator(str(folder)).Reload().Scalars(tag)
    return [(event.step, event.value) for event in events]


def test_a_file_is_opened_once_however_much_is_written(tmp_path, openings):
    logger = EventLogger(tmp_path)
    for epoch in range(1, 21):
        logger.log_metrics({"loss": 1 / epoch, "accuracy": 0.5}, step=epoch)
        logger.experiment.add_histogram("weights", np.arange(9.0), epoch)
    logger.finalize("success")
    (path,) = tmp_path.iterdir()
    assert openings.count(str(path)) == 1
    every = {"scalars": 0, "histograms": 0}
    events = EventAccumulator(str(tmp_path), size_guidance=every).Reload()
    values = [event.value for event in events.Scalars("loss")]
    assert values == pytest.approx([1 / epoch for epoch in range(1, 21)])
    assert [event.step for event in events.Histograms("weights")] == [*range(1, 21)]


def test_numbers_are_in_the_file_as_soon_as_they_are_logged(tmp_path):
    """A kill loses none that a checkpoint counts on, and TensorBoard shows them."""
    logger = EventLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=1)
    assert scalars(tmp_path, "loss") == [(1, 0.5)]
    logger.experiment.add_scalar("other", 2.0, 1)
    logger.save()
    assert scalars(tmp_path, "other") == [(1, 2.0)]
    logger.finalize("success")


def test_no_file_comes_into_being_before_there_is_something_to_write(tmp_path):
    logger = EventLogger(tmp_path)
    logger.save()
    logger.finalize("success")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_logger_goes_on_in_a_new_file(tmp_path):
    logger = EventLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.finalize("success")
    logger.log_metrics({"loss": 0.25}, step=2)
    logger.finalize("success")
    assert len(list(tmp_path.iterdir())) == 2
    assert scalars(tmp_path, "loss") == [(1, 0.5), (2, 0.25)]


def test_two_loggers_of_one_second_have_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files.time, "time", lambda: 1e9)
    for value in (1.0, 2.0):
        logger = EventLogger(tmp_path)
        logger.log_metrics({"loss": value}, step=1)
        logger.finalize("success")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_written_after_another_process_took_over(tmp_path, monkeypatch):
    logger = EventLogger(tmp_path)
    logger.log_metrics({"loss": 0.5}, step=1)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    monkeypatch.setattr(locks, "_tokens", {tmp_path / ".lock.lease.1": "lost"})
    with pytest.raises(LeaseLost):
        logger.log_metrics({"loss": 0.25}, step=2)
    with pytest.raises(LeaseLost):
        logger.finalize("failed")
    assert path.read_bytes() == before


def test_the_numbers_of_a_step_are_one_event(tmp_path):
    logger = EventLogger(tmp_path)
    logger.log_metrics({"loss": 0.5, "accuracy": 1}, step=3)
    logger.log_metrics({"loss": torch.tensor(0.25), "of": {"a": 2.0}}, step=4)
    logger.finalize("success")
    assert scalars(tmp_path, "loss") == [(3, 0.5), (4, 0.25)]
    first = next(path for path in tmp_path.iterdir() if path.is_file())
    events = LegacyEventFileLoader(str(first)).Load()
    tags = [[value.tag for value in event.summary.value] for event in events]
    assert tags == [[], ["loss", "accuracy"], ["loss"]]
