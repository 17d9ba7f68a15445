"""The callbacks alone, with a clock, a trainer and a task that do what a test says."""

import csv
import os
import signal
from types import SimpleNamespace

import pytest
import torch

from normlab import signals
from normlab.data.blocks import Block, Progress
from normlab.endings import Diverged, Interrupted, Pruned
from normlab.training import callbacks
from normlab.training.callbacks import (
    Recorder,
    Scoring,
    StopOnSignal,
    Terminal,
    append_rows,
    epoch_line,
)

BLOCK = Block(torch.zeros(4, 1), torch.zeros(4), 2)


class Task:
    """What the callbacks use of a task; closing an epoch halves the learning rate."""

    device = torch.device("cpu")
    network = torch.nn.Identity()

    def __init__(self, optimizer=None, **progress):
        self.progress = Progress(**progress)
        self.optimizer = optimizer
        self.metrics = {"train/loss": 0.5, "val/loss": 0.25, "lr": 0.1}
        self.step_seconds, self.timed_steps, self.scoring_seconds = 0.0, 0, 0.0
        self.closed = []
        self.unfinished = self.on_stop = None
        self.epoch_samples = 32
        self.averaging = self.stack = None

    def clock(self):
        return callbacks.time.perf_counter()

    def close_epoch(self, validation, context):
        self.closed.append((validation, context))
        self.metrics = {"val/loss": 0.25}
        self.optimizer.param_groups[0]["lr"] /= 2


def trainer(**changes):
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    defaults = {
        "optimizers": [optimizer],
        "loggers": [],
        "is_global_zero": True,
        "is_last_batch": False,
        "should_stop": False,
        "world_size": 1,
        "num_training_batches": 3,
        "_signal_connector": SimpleNamespace(received_sigterm=True),
    }
    return SimpleNamespace(**defaults | changes)


@pytest.fixture
def clock(monkeypatch):
    """clock.now: the time in seconds, for both clocks."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = clock.monotonic = lambda: clock.now
    monkeypatch.setattr(callbacks, "time", clock)
    return clock


def train_epoch(scoring, clock, lightning, task, seconds):
    scoring.on_train_epoch_start(lightning, task)
    clock.now += seconds
    scoring.on_train_epoch_end(lightning, task)


def test_the_recorded_rate_is_that_of_the_epochs_steps(clock):
    lightning = trainer()
    task = Task(lightning.optimizers[0])
    blocks, context = [BLOCK], object()
    scoring = Scoring(blocks, context)
    train_epoch(scoring, clock, lightning, task, 1)
    assert task.closed == [(blocks, context)]
    assert task.metrics == {"val/loss": 0.25, "lr": 0.1}
    assert lightning.optimizers[0].param_groups[0]["lr"] == 0.05


def test_speed_counts_training_alone(clock):
    lightning = trainer()
    task = Task(lightning.optimizers[0])
    scoring = Scoring([])
    clock.now = 10  # preparation, which is not counted
    scoring.on_train_start(lightning, task)
    for seconds in (3, 1):
        train_epoch(scoring, clock, lightning, task, seconds)
        clock.now += 3  # scoring, records
    clock.now = 30
    task.step_seconds, task.timed_steps, task.scoring_seconds = 6.0, 3, 4.0
    assert (scoring.seconds, scoring.samples) == (4.0, 64)
    assert scoring.speed(task) == {
        "samples_per_second": 16.0,
        "step_milliseconds": 2000.0,
        "outside_share": 0.5,
        "compile_seconds": None,
    }


def test_what_a_stack_compiles_counts_in_none_of_its_runs(clock, monkeypatch):
    lightning = trainer()
    task = Task(lightning.optimizers[0])
    task.stack = "a stack"
    compiled = iter(range(100))  # one second more at every look
    monkeypatch.setattr(callbacks, "compile_seconds", lambda: float(next(compiled)))
    scoring = Scoring([])
    scoring.on_train_start(lightning, task)
    train_epoch(scoring, clock, lightning, task, 4)
    task.step_seconds, task.timed_steps = 3.0, 3
    speed = scoring.speed(task)
    assert speed["samples_per_second"] == 8.0
    assert speed["step_milliseconds"] == 1000.0
    assert speed["compile_seconds"] is None


def test_an_epoch_that_was_resumed_inside_is_not_counted(clock):
    lightning = trainer()
    task = Task(lightning.optimizers[0], blocks=1)
    scoring = Scoring([])
    train_epoch(scoring, clock, lightning, task, 5)
    task.progress.blocks = 0
    train_epoch(scoring, clock, lightning, task, 2)
    assert (scoring.seconds, scoring.samples) == (2.0, 32)


def test_a_run_without_steps_has_no_speed(clock):
    scoring = Scoring([])
    clock.now = 1
    assert scoring.speed(Task()) == {
        "samples_per_second": None,
        "step_milliseconds": None,
        "outside_share": 1.0,
        "compile_seconds": None,
    }


def test_the_share_outside_is_never_negative(clock):
    scoring = Scoring([])
    clock.now = 1
    task = Task()
    task.step_seconds, task.timed_steps = 1.5, 1
    assert scoring.speed(task)["outside_share"] == 0.0


def test_every_epoch_is_a_row_and_goes_to_the_loggers(clock, tmp_path):
    logged = []
    logger = SimpleNamespace(
        log_metrics=lambda metrics, step: logged.append((step, dict(metrics)))
    )
    lightning = trainer(loggers=[logger])
    clock.now = 100
    recorder = Recorder(tmp_path, seconds_before=7.0)
    task = Task(epoch=2, steps=54)
    clock.now = 101.5
    recorder.on_train_epoch_end(lightning, task)
    task.progress = Progress(epoch=3, steps=72)
    clock.now = 103
    recorder.on_train_epoch_end(lightning, task)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "epoch,step,seconds,train/loss,val/loss,lr",
        "3,54,8.5,0.5,0.25,0.1",
        "4,72,10.0,0.5,0.25,0.1",
    ]
    assert logged == [(3, task.metrics), (4, task.metrics)]


def test_only_the_first_process_writes_metrics(tmp_path):
    Recorder(tmp_path).on_train_epoch_end(trainer(is_global_zero=False), Task())
    assert not (tmp_path / "metrics.csv").exists()


def test_the_header_is_written_once(tmp_path):
    path = tmp_path / "rows.csv"
    append_rows(path, [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    append_rows(path, [{"a": 5, "b": 6}])
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]


def test_a_line_has_all_metrics_but_the_rate():
    metrics = {"train/loss": 0.21337, "val/accuracy": 1.0, "lr": 0.1}
    assert epoch_line(3, 10, metrics) == (
        "epoch  3/10   train/loss 0.2134   val/accuracy 1.0000"
    )
    assert epoch_line(3, 3, {}) == "epoch 3/3"


@pytest.mark.parametrize(
    ("max_epochs", "printed"),
    [
        (3, [1, 2, 3]),
        (39, list(range(1, 40))),
        (45, [*range(2, 45, 2), 45]),
        (100, list(range(5, 101, 5))),
    ],
)
def test_about_twenty_epochs_are_printed(capsys, max_epochs, printed):
    terminal = Terminal(max_epochs)
    for epoch in range(max_epochs):
        terminal.on_train_epoch_end(trainer(), Task(epoch=epoch))
    output = capsys.readouterr()
    lines = output.err.splitlines()
    epochs = [line.removeprefix("epoch").partition("/")[0] for line in lines]
    assert [int(epoch) for epoch in epochs] == printed
    assert output.out == ""


def test_other_processes_print_nothing(capsys):
    terminal = Terminal(1)
    terminal.on_train_epoch_end(trainer(is_global_zero=False), Task())
    assert capsys.readouterr().err == ""


def test_without_a_terminal_there_is_no_bar(capsys):
    terminal = Terminal(2)
    terminal.on_train_start(trainer(), Task())
    assert terminal.bar is None


@pytest.mark.parametrize("end", ["on_exception", "teardown"])
def test_the_bar_counts_blocks_and_goes_at_the_end(capsys, monkeypatch, end):
    calls = []
    bar = SimpleNamespace(
        add_task=lambda name, total, completed: calls.append((total, completed)),
        start=lambda: calls.append("start"),
        update=lambda line, advance, description: calls.append(description),
        stop=lambda: calls.append("stop"),
    )
    monkeypatch.setattr(callbacks, "Bar", lambda: bar)
    monkeypatch.setattr(callbacks.sys.stderr, "isatty", lambda: True)
    terminal, task = Terminal(5), Task(epoch=2)
    terminal.on_train_start(trainer(), task)
    terminal.on_train_batch_end(trainer(), task, None, BLOCK, 0)
    getattr(terminal, end)(trainer(), task, "fit")
    terminal.teardown(trainer(), task, "fit")
    assert calls == [(15, 6), "start", "epoch 3/5", "stop"]


@pytest.fixture
def stop():
    """StopOnSignal with its handlers installed; `stop.written` counts checkpoints."""
    with signals.restored():
        for number in signals.STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        written = []
        checkpoints = SimpleNamespace(write=lambda *arguments: written.append(1))
        stop = StopOnSignal(checkpoints)
        stop.written = written
        stop.on_fit_start(trainer(), Task())
        yield stop


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def test_without_a_signal_nothing_happens(stop):
    stop.on_train_batch_end(trainer(), Task(), None, BLOCK, 0)
    stop.on_train_epoch_start(trainer(), Task())
    stop.on_train_end(trainer(), Task())
    assert stop.written == []


def test_the_block_is_finished_and_a_checkpoint_written(stop):
    send(signal.SIGUSR2)
    assert stop.received == signal.SIGUSR2
    with pytest.raises(Interrupted, match="stopped by SIGUSR2"):
        stop.on_train_batch_end(trainer(), Task(), None, BLOCK, 0)
    assert stop.written == [1]


def test_after_an_epochs_last_block_the_epoch_is_ended(stop):
    send()
    stop.on_train_batch_end(trainer(is_last_batch=True), Task(), None, BLOCK, 0)
    assert stop.written == []
    with pytest.raises(Interrupted):
        stop.on_train_epoch_start(trainer(), Task())
    assert stop.written == [1]


def test_at_the_end_of_training_no_checkpoint_is_written(stop):
    send()
    with pytest.raises(Interrupted):
        stop.on_train_end(trainer(), Task())
    assert stop.written == []


def test_a_second_signal_does_not_wait(stop):
    send(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        send(signal.SIGINT)


@pytest.mark.parametrize("end", [Pruned(1, 0.0), Diverged(1, float("nan"))])
def test_a_run_that_ends_by_itself_passes_the_signal_on(stop, end):
    send()
    with pytest.raises(Interrupted):
        stop.on_exception(trainer(), Task(), end)


def test_an_error_is_not_replaced_by_the_signal(stop):
    send()
    stop.on_exception(trainer(), Task(), RuntimeError("of its own"))
    assert stop.received == signal.SIGTERM


def test_a_former_handler_that_returns_lets_the_run_go_on():
    noted = []
    with signals.restored():
        signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
        stop = StopOnSignal(SimpleNamespace(write=lambda *arguments: None))
        stop.on_fit_start(trainer(), Task())
        send()
        for _ in range(2):
            stop.on_train_batch_end(trainer(), Task(), None, BLOCK, 0)
    assert noted == [signal.SIGTERM]


def test_all_processes_stop_if_one_of_them_was_asked(stop, monkeypatch):
    values = []

    def largest(value, device):
        values.append(value)
        return int(signal.SIGTERM)

    monkeypatch.setattr("normlab.training.callbacks.largest_over_processes", largest)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        stop.on_train_batch_end(trainer(world_size=2), Task(), None, BLOCK, 0)
    assert values == [0]


def test_lightnings_handler_and_its_memory_are_replaced(stop):
    lightning = trainer()
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("Lightning's"))
    stop.on_train_start(lightning, Task())
    send()
    assert stop.received == signal.SIGTERM
    assert lightning._signal_connector.received_sigterm is False


def test_unsettled_running_statistics_are_noted_once(capsys):
    terminal = Terminal(3)
    task = Task()
    task.network = torch.nn.BatchNorm1d(2)
    task.network(torch.ones(3, 2))
    task.metrics["val/loss"] = 100.0
    terminal.on_train_epoch_end(trainer(), task)
    terminal.on_train_epoch_end(trainer(), task)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "note:", "epoch"]
    assert "in a norm are 90% initial values after 1 batch at" in lines[1]
