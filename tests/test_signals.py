"""Stop signals in a run of this process, which sends them to itself."""

import csv
import json
import math
import os
import signal

import pytest
from omegaconf import OmegaConf

from normlab import main, signals
from normlab.config.identity import run_folder
from normlab.endings import Diverged, Interrupted, Pruned
from normlab.signals import STOP_SIGNALS, hand_over
from normlab.training import checkpoint_files, experiment
from normlab.training.callbacks import Recorder
from normlab.training.checkpoint_files import load
from normlab.training.checkpoints import Checkpoints
from normlab.training.classification import Classification
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    """Three epochs of 18 steps, in blocks of 10 and 8."""
    words = [
        "trainer.max_epochs=3",
        "progress=false",
        "checkpoint.every_n_steps=10",
        f"paths.outputs={tmp_path}",
    ]
    return OmegaConf.to_container(compose(*words, "device=cpu"), resolve=True)


@pytest.fixture
def send(monkeypatch):
    """send(number, hook, call): in the `call`-th call of a hook of `Checkpoints`."""

    def arrange(number, hook, call=1):
        original, calls = getattr(Checkpoints, hook), []

        def hooked(self, *arguments):
            original(self, *arguments)
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Checkpoints, hook, hooked)

    return arrange


def steps(config):
    return load(run_folder(config) / "checkpoints" / "last.ckpt")["progress"]["steps"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGUSR1, 138),
        (signal.SIGUSR2, 140),
    ],
)
def test_a_run_stops_after_the_block_with_its_state_stored(config, send, number, code):
    send(number, "on_train_batch_end", call=3)
    with pytest.raises(
        Interrupted, match=f"stopped by {signal.Signals(number).name}"
    ) as interrupted:
        run(config)
    assert interrupted.value.exit_code == code
    assert steps(config) == 28
    assert not (run_folder(config) / "result.json").exists()


def test_a_signal_before_the_first_block_stops_the_run(config, send):
    send(signal.SIGTERM, "on_train_start")  # when Lightning's own handler is the first
    with pytest.raises(Interrupted):
        run(config)
    assert steps(config) == 0
    assert run(config)["steps"] == 54


def test_a_signal_while_the_last_epoch_ends_stops_the_run(config, send):
    send(signal.SIGTERM, "on_train_epoch_end", call=3)
    with pytest.raises(Interrupted):
        run(config)
    assert load(run_folder(config) / "checkpoints" / "last.ckpt")["ended"]
    assert run(config)["steps"] == 54


@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_in_the_last_block_loses_no_record(config, send, tmp_path, call):
    """Statistics are taken from the last block, so the epoch is ended first."""
    config["checkpoint"]["every_n_steps"] = None  # an epoch is one block
    whole = config | {"paths": {"outputs": str(tmp_path / "whole")}}
    run(whole)
    send(signal.SIGTERM, "on_train_batch_end", call=call)
    with pytest.raises(Interrupted):
        run(config)
    assert (
        load(run_folder(config) / "checkpoints" / "last.ckpt")["progress"]["epoch"]
        == call
    )
    run(config)
    assert (run_folder(config) / "statistics.csv").read_bytes() == (
        run_folder(whole) / "statistics.csv"
    ).read_bytes()


@pytest.mark.parametrize(
    "end", [Pruned(1, 0.0), Diverged(1, math.nan)], ids=["pruned", "diverged"]
)
def test_a_signal_is_remembered_if_the_epoch_ends_the_run(
    config, send, monkeypatch, end
):
    config["checkpoint"]["every_n_steps"] = None
    send(signal.SIGTERM, "on_train_batch_end")

    def fail(*arguments):
        raise end

    monkeypatch.setattr(Recorder, "on_train_epoch_end", fail)
    with pytest.raises(Interrupted):
        run(config)


def test_a_second_signal_does_not_wait(config, monkeypatch):
    def twice(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("waited for the end of the block")

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", twice)
    with pytest.raises(Interrupted):
        run(config)


@pytest.fixture
def send_in_batch(monkeypatch):
    """send_in_batch(number, batch): while the loss of a training batch is computed.

    It returns the list of the losses that have been computed since then.
    """
    original = Classification.loss

    def arrange(number, batch):
        calls = []

        def loss(self, *arguments):
            calls.append(1)
            if len(calls) == batch:
                os.kill(os.getpid(), number)
            return original(self, *arguments)

        monkeypatch.setattr(Classification, "loss", loss)
        return calls

    return arrange


def records(config):
    """All that a run stored of its training, without times."""
    folder = run_folder(config)
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    names = ("statistics.csv", "checkpoints/best.ckpt")
    return rows, [(folder / name).read_bytes() for name in names]


@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_a_run_stops_within_a_block_and_ends_in_the_same_bits(
    compose, send_in_batch, tmp_path, model
):
    """An epoch is one block of 26 batches; a record computes one more loss."""
    words = [
        f"model={model}",
        "trainer.max_epochs=2",
        "progress=false",
        "device=cpu",
        "dataset.batch_size=45",
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    whole = config | {"paths": {"outputs": str(tmp_path / "whole")}}
    config["paths"] = {"outputs": str(tmp_path / "stopped")}
    result = run(whole)
    batches = result["steps"] // 2
    stored = []
    for batch in (3, 4, batches):  # within the first epoch twice, then the second
        losses = send_in_batch(signal.SIGTERM, batch)
        with pytest.raises(Interrupted):
            run(config)
        assert len(losses) == batch
        state = load(run_folder(config) / "checkpoints" / "last.ckpt")
        stored.append(
            (state["progress"]["steps"], len(state["unfinished_block"]["losses"]))
        )
    assert stored == [(0, 3), (0, 7), (batches, 6)]
    send_in_batch(signal.SIGTERM, 0)
    assert run(config)["metrics"] == result["metrics"]
    assert records(config) == records(whole)


def test_a_run_continues_its_block_if_the_former_handler_returns(
    config, send_in_batch, tmp_path
):
    config["checkpoint"]["every_n_steps"] = None
    whole = config | {"paths": {"outputs": str(tmp_path / "whole")}}
    run(whole)
    noted = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    send_in_batch(signal.SIGTERM, 5)
    assert run(config)["status"] == "finished"
    signal.signal(signal.SIGTERM, previous)
    assert noted == [signal.SIGTERM]
    assert records(config) == records(whole)


@pytest.mark.parametrize(("sent_before", "expected"), [(False, 18), (True, 10)])
def test_two_signals_wait_for_the_write_of_a_checkpoint(
    config, send, monkeypatch, sent_before, expected
):
    """They come while last.ckpt is written, and previous.ckpt is another name of it."""
    if sent_before:
        send(signal.SIGTERM, "on_train_batch_end")
    folder = run_folder(config) / "checkpoints"
    write = checkpoint_files.write_atomically
    found = []

    def write_late(path, content):
        if path.name == "last.ckpt" and (folder / "previous.ckpt").exists():
            found.append(path.name)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
        write(path, content)

    monkeypatch.setattr(checkpoint_files, "write_atomically", write_late)
    with pytest.raises(Interrupted):
        run(config)
    assert set(found) == {"last.ckpt"}
    assert steps(config) == expected


def test_ctrl_c_waits_for_the_write_of_the_result(config, monkeypatch):
    write = experiment.write_result

    def write_late(folder, result):
        os.kill(os.getpid(), signal.SIGINT)
        write(folder, result)

    monkeypatch.setattr(experiment, "write_result", write_late)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert (run_folder(config) / "result.json").exists()


def test_a_request_that_slurm_repeats_is_one_request(config, monkeypatch):
    """SLURM signals every process of a job, and their parents do so once more."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def twice(self, *arguments):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", twice)
    with pytest.raises(Interrupted):
        run(config)
    assert steps(config) == 10


def test_signals_are_postponed_and_sent_on_once():
    received = []
    with signals.restored():
        signals.install(lambda number, frame: received.append(number))
        with signals.postponed():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            assert received == []
        assert received == [signal.SIGTERM, signal.SIGINT]


def test_the_former_handler_is_called_after_the_checkpoint(config, send):
    found = []

    def queue_again(number, frame):
        found.append(steps(config))
        raise SystemExit(77)

    previous = signal.signal(signal.SIGUSR2, queue_again)
    send(signal.SIGUSR2, "on_train_batch_end", call=3)
    with pytest.raises(SystemExit) as end:
        run(config)
    signal.signal(signal.SIGUSR2, previous)
    assert (end.value.code, found) == (77, [28])


def test_a_run_continues_if_the_former_handler_returns(config, send):
    noted = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    send(signal.SIGTERM, "on_train_batch_end", call=3)
    assert run(config)["status"] == "finished"
    signal.signal(signal.SIGTERM, previous)
    assert noted == [signal.SIGTERM]


def test_a_run_that_diverges_restores_the_handlers(config, stop_signals):
    assert (
        run(config | {"optimizer": config["optimizer"] | {"lr": 1e30}})["status"]
        == "diverged"
    )
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == stop_signals


def test_ctrl_c_without_a_handler_of_its_own_interrupts():
    with pytest.raises(Interrupted):
        hand_over(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({"SLURM_JOB_ID": "7"}, "7"),
        (
            {
                "SLURM_JOB_ID": "9",
                "SLURM_ARRAY_JOB_ID": "7",
                "SLURM_ARRAY_TASK_ID": "2",
            },
            "7_2",
        ),
    ],
)
def test_a_preempted_slurm_job_is_queued_again(
    tmp_path, monkeypatch, capsys, send, variables, job
):
    """The whole command line, with a `scontrol` that notes how it was called."""
    _fake_scontrol(tmp_path, monkeypatch, "exit 0")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = [
        "device=cpu",
        "trainer.max_epochs=2",
        "progress=false",
        f"paths.outputs={tmp_path / 'outputs'}",
    ]
    monkeypatch.setattr("sys.argv", ["train.py", *words])
    send(signal.SIGUSR1, "on_train_epoch_end")
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 138
    assert (tmp_path / "calls").read_text() == f"requeue {job}\n"
    (checkpoint,) = (tmp_path / "outputs").glob("*/*/checkpoints/last.ckpt")
    assert load(checkpoint)["progress"]["epoch"] == 1
    assert f"SLURM job {job} is queued again" in capsys.readouterr().err
    main.main()  # as SLURM does
    assert (
        json.loads((checkpoint.parents[1] / "result.json").read_text())["epochs"] == 2
    )


def test_a_job_that_cannot_be_queued_again_says_so(tmp_path, monkeypatch, capsys):
    _fake_scontrol(tmp_path, monkeypatch, "exit 1")
    main.requeue({"SLURM_JOB_ID": "7"})
    assert "SLURM job 7 could not be queued again" in capsys.readouterr().err
    main.requeue({"SLURM_JOB_ID": "7", "SLURM_PROCID": "1"})
    assert (tmp_path / "calls").read_text() == "requeue 7\n"


def _fake_scontrol(folder, monkeypatch, end):
    command = folder / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{end}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")


def test_handlers_are_restored_if_a_block_raises(stop_signals):
    def fail():
        with signals.restored():
            signals.install(lambda number, frame: None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {number: signal.getsignal(number) for number in STOP_SIGNALS} == stop_signals
