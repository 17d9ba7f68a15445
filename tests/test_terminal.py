"""What is shown, and that the computation does not notice if nobody can see it.

The commands are processes of their own, with real pipes and pseudo-terminals.
"""

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from normlab import terminal
from normlab.terminal import (
    Bar,
    Output,
    escaped,
    format_metric,
    output_may_end,
    print_cautions,
    print_line,
    print_metrics,
    with_progress,
    without_control,
)

ROOT = Path(__file__).resolve().parents[1]
RUN = ["device=cpu", "trainer.max_epochs=3"]


def train(outputs, *words, redirect="", timeout=300, **options):
    """Start `train.py` in a shell, with redirections such as `2>&1 | head -1`."""
    command = f'exec 3>&1; ("$@"; echo $? >&3) {redirect}'
    program = [sys.executable, str(ROOT / "train.py")]
    return subprocess.run(
        ["bash", "-c", command, "train", *program, *words, f"paths.outputs={outputs}"],
        cwd=ROOT,
        timeout=timeout,
        capture_output=True,
        text=True,
        **options,
    )


def results(outputs):
    paths = outputs.glob("*/*/result.json")
    return [json.loads(path.read_text())["status"] for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize(
    "redirect",
    [
        "2>&1 | head -1 > /dev/null",
        ">/dev/full 2>&1",
        "2>&-",
        ">&- 2>&- <&-",
    ],
)
def test_a_run_does_not_notice_that_nobody_reads(tmp_path, redirect):
    done = train(tmp_path, *RUN, redirect=redirect)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert results(tmp_path) == ["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "queue"])
def test_a_sweep_does_not_notice_that_nobody_reads(tmp_path, launcher):
    words = ["-m", f"hydra/launcher={launcher}", "seed=0,1,2", *RUN]
    done = train(tmp_path, *words, redirect="2>&1 | head -1 > /dev/null")
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert results(tmp_path) == ["finished"] * 3


@pytest.mark.slow
def test_characters_that_cannot_be_encoded_become_escapes(tmp_path):
    outputs = tmp_path / "[old] cliché"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = train(f"'{outputs}'", *RUN, env=environment)
    assert done.stdout.splitlines()[-1] == "0"
    assert r"mlp \xb7 custom \xb7 digits" in done.stdout
    assert rf"{tmp_path}/[old] clich\xe9/digits-mlp/" in done.stdout
    assert results(outputs) == ["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("leads_the_session", [False, True])
def test_a_run_outlives_its_terminal(tmp_path, leads_the_session):
    """Only the leader of a session gets SIGHUP; all others get EIO when they write."""
    master, slave = pty.openpty()

    def take_terminal():
        os.setsid()
        if leads_the_session:
            os.close(os.open(os.ttyname(0), os.O_RDWR))

    words = [*RUN, "trainer.max_epochs=30", f"paths.outputs={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=take_terminal,
    )
    os.close(slave)
    assert os.read(master, 1)  # the first line of the first epoch, or the bar
    os.close(master)
    assert process.wait(timeout=300) == 0
    assert results(tmp_path) == ["finished"]


class Lost(io.StringIO):
    """A stream whose reader has ended."""

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Lost(), None])
def test_nothing_is_raised_by_streams_that_are_lost(stream):
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        with output_may_end():
            print("first", file=sys.stderr, flush=True)
            print("second")
            Console(stderr=True).print("[bold]third[/bold]")
            assert not sys.stderr.isatty()
        assert sys.stdout is sys.stderr is stream


def test_a_closed_stream_takes_text():
    stream = io.StringIO()
    stream.close()
    output = Output(stream)
    assert output.write("text") == 4
    output.flush()
    assert not output.isatty()


def test_a_slow_reader_loses_a_text_and_not_the_rest():
    class Slow(io.StringIO):
        busy = True

        def write(self, text):
            if self.busy:
                raise BlockingIOError
            return super().write(text)

    output = Output(stream := Slow())
    output.write("lost ")
    stream.busy = False
    output.write("shown")
    assert stream.getvalue() == "shown"


def test_the_handler_of_hangups_is_as_it_was_before():
    before = signal.getsignal(signal.SIGHUP)
    with output_may_end():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\tb\nc é ·", "a\tb\nc é ·"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("over\rwritten\x9b2J", r"over\rwritten\x9b2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("clich\udce9", r"clich\udce9"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(text, escaped):
    assert without_control(text) == escaped


@pytest.mark.parametrize("text", ["/x/[old] runs", "a [/b] c", "[/tmp/x]", "x[red]\\"])
def test_brackets_of_users_are_shown(text):
    console = Console(file=io.StringIO(), width=80)
    console.print(escaped(text))
    print_cautions(console, [text])
    print_metrics(console, {f"test/{text.replace('/', '')}": 0.5}, text)
    printed = console.file.getvalue()
    assert printed.count(text) >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97, "0.9700"),
        (54.61234, "54.6123"),
        (0.0, "0.0000"),
        (0.01, "0.0100"),
        (0.0012345678, "0.001235"),
        (-0.00001234567, "-1.235e-05"),
        (None, "–"),
        (float("nan"), "nan"),
    ],
)
def test_small_metrics_are_shown_with_four_digits(value, text):
    assert format_metric(value) == text


def test_the_error_of_small_targets_is_not_shown_as_zero():
    console = Console(file=io.StringIO(), width=80)
    print_metrics(console, {"test/rmse": 1.5e-5, "val/rmse": 0.25}, "title")
    row = console.file.getvalue().splitlines()[-2]
    assert row.split() == ["rmse", "–", "0.2500", "1.5e-05"]


def test_a_printed_line_has_no_control_characters(capsys):
    print_line("left out: a\x1b[2J\u202eb\tc")
    assert capsys.readouterr().err == "left out: a\\x1b[2J\\u202eb\tc\n"


def test_quick_work_shows_nothing(capsys):
    assert list(with_progress(iter("abc"), 3, "reading")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_slow_work_says_once_how_far_it_is(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    assert list(with_progress(range(4), 4, "reading")) == [0, 1, 2, 3]
    assert capsys.readouterr().err == "reading: 2 of 4, about 3 s left\n"


def test_on_a_terminal_slow_work_shows_a_bar_unless_there_is_one(capsys, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_IN_SILENCE", -1)
    monkeypatch.setattr(terminal.sys.stderr, "isatty", lambda: True)
    shown = []
    for _ in with_progress(range(3), 3, "reading"):
        shown.append(Bar.num_shown)
    assert shown == [0, 1, 1]
    assert Bar.num_shown == 0
    with Bar():
        list(with_progress(range(2), 2, "reading"))
    assert "reading: 1 of 2, about" in capsys.readouterr().err


def test_a_bar_for_long_work_is_there_from_the_start(capsys, monkeypatch):
    monkeypatch.setattr(terminal.sys.stderr, "isatty", lambda: True)
    shown = []
    for _ in with_progress(range(2), 2, "grading", lambda: "nobody knows"):
        shown.append(Bar.num_shown)
    assert shown == [1, 1]
    assert Bar.num_shown == 0
    with Bar():
        monkeypatch.setattr(terminal, "SECONDS_IN_SILENCE", -1)
        list(with_progress(range(2), 2, "grading", lambda: "nobody knows"))
    assert "grading: 1 of 2, nobody knows\n" in capsys.readouterr().err


def test_in_a_notebook_messages_are_not_red(capsys, monkeypatch):
    terminal.print_line("to standard error")
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    terminal.print_line("below the cell")
    terminal.message_console().print("and this")
    shown = capsys.readouterr()
    assert shown.err == "to standard error\n"
    assert shown.out == "below the cell\nand this\n"
