"""What is shown in a terminal: streams that may end, styles, bars and tables."""

import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, TextIO, TypeVar

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from normlab.metrics import PARTS

Item = TypeVar("Item")

SECONDS_IN_SILENCE = 2
SMALL = 0.01  # below, four decimals would show two digits or fewer

STATUS_STYLE = {
    "finished": "green",
    "diverged": "yellow",
    "failed": "red",
    "pruned": "cyan",
}

# Characters that could move the cursor, change the terminal or turn the direction of a
# line, apart from tabs and ends of lines. Half surrogates stand for bytes that are not
# in UTF-8.
CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Output:
    """A stream of text that falls silent when nobody can receive its text any more.

    A reader may end (`| head`), a terminal may hang up, a disk may fill, a stream may
    be closed. The computation does not notice any of it.

    Args:
        stream: standard output or standard error.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_silent = False

    def write(self, text: str) -> int:
        """Write a text; characters that the stream cannot encode become escapes."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            escaped = text.encode(encoding, "backslashreplace")
            self.write(escaped.decode(encoding))
        except BlockingIOError:
            pass  # the reader is slow, and this text is lost
        except (OSError, ValueError):
            self._fall_silent()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what has been written."""
        try:
            self._stream.flush()
        except BlockingIOError:
            pass  # it stays in the buffer
        except (OSError, ValueError):
            self._fall_silent()

    def end(self) -> None:
        """Flush so that Python has nothing left to write when it exits."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._fall_silent()

    def isatty(self) -> bool:
        """Whether this is a terminal that can still show something."""
        try:
            return not self._is_silent and bool(self._stream.isatty())
        except (OSError, ValueError):
            return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _fall_silent(self) -> None:
        """Let the stream lead nowhere, also for C libraries and at Python's exit."""
        if self._is_silent:
            return
        self._is_silent = True
        try:
            number = self._stream.fileno()
            if number in (1, 2):
                _connect_to_nothing(number)
                self._stream.flush()
        except (OSError, ValueError):
            return  # it is closed, or no file


@contextmanager
def output_may_end() -> Iterator[None]:
    """Within the block, a fault of the output is no fault of the computation.

    Standard output and standard error fall silent when they cannot be written to. A
    terminal that hangs up takes the output with it, and nothing else: SIGHUP is ignored
    (Ctrl-C and SIGTERM stop a run). As a decorator, this holds for a whole function.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    ignores_hangup = (
        is_main_thread and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    )
    if ignores_hangup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = (sys.stdin, sys.stdout, sys.stderr)
    _connect_closed_streams()
    nothing = open(os.devnull, "r+")  # noqa: SIM115 # closed below
    outputs = [_as_output(sys.stdout or nothing), _as_output(sys.stderr or nothing)]
    sys.stdin = sys.stdin or nothing
    sys.stdout, sys.stderr = outputs
    try:
        yield
    finally:
        for output in outputs:
            output.end()
        sys.stdin, sys.stdout, sys.stderr = before
        nothing.close()
        if ignores_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _as_output(stream: Any) -> Output:
    return stream if isinstance(stream, Output) else Output(stream)


def _connect_closed_streams() -> None:
    """Connect standard streams that were closed (`2>&-`) to nothing.

    Otherwise the next file that is opened would get the number of the stream, and C
    libraries would write their messages into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _connect_to_nothing(number)


def _connect_to_nothing(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing == number:
        os.set_inheritable(number, True)
        return
    os.dup2(nothing, number)
    os.close(nothing)


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this, and a notebook shows what is printed."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


def message_stream() -> TextIO:
    """The stream of messages: standard error, or standard output in a notebook.

    Notebooks show standard error in red, as if something were wrong.
    """
    return sys.stdout if in_notebook() else sys.stderr


def message_console(**options: Any) -> Console:
    """A console on that stream; `options` are those of rich's console."""
    return Console(
        file=message_stream(),
        force_jupyter=False,
        emoji=False,
        highlight=False,
        **options,
    )


def print_line(text: str) -> None:
    """Print a text to the stream of messages, its control characters as escapes.

    What is printed may hold names of files, columns or runs that other people chose.
    Texts for rich go through `escaped` instead.
    """
    print(without_control(text), file=message_stream())


@cache
def print_once(text: str) -> None:
    """`print_line`, each text once per process."""
    print_line(text)


def escaped(text: object) -> str:
    """A text of a user for rich: neither its brackets nor its characters act.

    Control characters become escapes such as `\\x1b`.
    """
    return escape(without_control(str(text)))


def without_control(text: str) -> str:
    """A text with control characters, apart from tabs and ends of lines, as escapes."""
    return CONTROL_CHARACTERS.sub(_as_escape, text)


def _as_escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def shorten(names: Sequence[str], most: int) -> str:
    """The first names of a list, and how many more there are: `a, b and 3 more`."""
    shown = ", ".join(names[:most])
    if len(names) <= most:
        return shown
    return f"{shown} and {len(names) - most} more"


class Bar(Progress):
    """A bar on standard error that disappears when it is done.

    Args:
        last: the last column; None for the time that is left.

    Attributes:
        num_shown: how many bars are shown now; a second one would garble the first.
    """

    num_shown: ClassVar[int] = 0

    def __init__(self, last: ProgressColumn | None = None) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            last or TimeRemainingColumn(),
            console=Console(stderr=True, emoji=False),
            transient=True,
        )

    def start(self) -> None:
        """Show the bar."""
        if not self.live.is_started:
            Bar.num_shown += 1
        super().start()

    def stop(self) -> None:
        """Remove the bar."""
        if self.live.is_started:
            Bar.num_shown -= 1
        super().stop()


class CurrentText(ProgressColumn):
    """What a function says whenever the bar is drawn.

    Args:
        text: returns it.
    """

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        """The text of now."""
        return Text(self._text())


def with_progress(
    items: Iterable[Item],
    total: int,
    what: str,
    time_left: Callable[[], str] | None = None,
) -> Iterator[Item]:
    """Yield items, and show how far they are if they take more than two seconds.

    On a terminal this is a bar. In a file, and below a bar of somebody else, it is one
    line.

    Args:
        items: what to yield.
        total: number of items.
        what: what is done with them, as in "decoding images".
        time_left: says how much time is left, for items that take long, so that the bar
            is there from the start. None expects as much per item as so far.
    """
    started = time.monotonic()
    column = None if time_left is None else CurrentText(time_left)
    bar = None
    if column is not None and _has_room_for_a_bar():
        bar = _start_bar(0, total, what, column)
    is_shown = bar is not None
    try:
        for done, item in enumerate(items, start=1):
            yield item
            seconds = time.monotonic() - started
            if bar is not None:
                bar.update(TaskID(0), completed=done)
            elif not is_shown and seconds > SECONDS_IN_SILENCE and done < total:
                is_shown = True
                if _has_room_for_a_bar():
                    bar = _start_bar(done, total, what, column)
                else:
                    estimate = _estimate(seconds, done, total)
                    text = estimate if time_left is None else time_left()
                    print_line(f"{what}: {done} of {total}, {text}")
    finally:
        if bar is not None:
            bar.stop()


def _estimate(seconds: float, done: int, total: int) -> str:
    left = seconds / done * (total - done)
    return f"about {math.ceil(left)} s left"


def _has_room_for_a_bar() -> bool:
    return sys.stderr.isatty() and not Bar.num_shown


def _start_bar(done: int, total: int, what: str, last: ProgressColumn | None) -> Bar:
    bar = Bar(last)
    bar.add_task(what, total=total, completed=done)
    bar.start()
    return bar


def print_cautions(console: Console, cautions: Sequence[str]) -> None:
    """Print one line per caution."""
    for caution in cautions:
        console.print(
            f"[yellow]caution[/yellow]  {escaped(caution)}",
            soft_wrap=not console.is_terminal,
        )


def print_metrics(console: Console, metrics: dict[str, float], title: str) -> None:
    """Print a table with one row per metric and one column per part.

    Args:
        console: where it is printed.
        metrics: values by name, such as `test/accuracy`.
        title: printed above the table.
    """
    console.print(f"[bold]{escaped(title)}[/bold]", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    for part in PARTS:
        style = "bold" if part == "test" else ""
        table.add_column(part, justify="right", style=style)
    names = dict.fromkeys(key.split("/")[1] for key in metrics)
    for name in names:
        values = [format_metric(metrics.get(f"{part}/{name}")) for part in PARTS]
        table.add_row(escaped(name), *values)
    console.print(table)


def format_metric(value: float | None) -> str:
    """A metric as text: four decimals, or four digits if it is small.

    It is a dash for None.
    """
    if value is None:
        return "–"
    if 0 < abs(value) < SMALL:
        return f"{value:.4g}"
    return f"{value:.4f}"
