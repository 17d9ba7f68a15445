"""Worker processes that keep their imports and take one job after another.

A worker that dies loses only the job that it had.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from normlab.endings import Stopped
from normlab.signals import STOP_SIGNALS, may_come_twice

MOST_STARTS = 5  # of a worker, if the server process is killed each time
SECONDS_BETWEEN_STARTS = 0.2


@dataclass(frozen=True)
class Died:
    """What a job yields if its worker process ended before the job did.

    Attributes:
        exit_code: the exit code of the process, negative if a signal ended it.
    """

    exit_code: int

    @property
    def reason(self) -> str:
        """One line that names the signal or the exit code."""
        # Processes that end themselves because of a signal add 128 to its number.
        number = self.exit_code - 128
        if self.exit_code < 0:
            number = -self.exit_code
        if number not in set(signal.Signals):
            return f"its worker process ended with exit code {self.exit_code}"
        name = signal.Signals(number).name
        reason = f"its worker process was ended by {name}"
        if name == "SIGKILL":
            reason += " (the system does this when memory runs out)"
        return reason


@dataclass
class _Worker:
    process: BaseProcess
    connection: connection.Connection
    slot: int
    job: int | None = None  # the index of the item that it works on
    jobs_taken: int = 0


class Workers:
    """A pool of worker processes.

    ::

        with Workers(function, environments) as workers:
            for index, value in workers.run(items):
                ...

    Within the block, stop signals raise `Stopped`. The end of the block waits until all
    workers have ended. Workers are in process groups of their own, so that Ctrl-C
    reaches them only once: as the SIGTERM that this process sends to them.

    Args:
        function: what a worker does with an item. It can be imported by its name, and
            what it returns can be pickled.
        environments: environment variables, one dictionary for each worker.
        jobs_per_worker: after how many jobs a worker is replaced, which frees its
            memory; None keeps it.
        preload: modules that a server process imports once; its forks are the workers.
            Without any, every worker is a new process of Python.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        environments: Sequence[dict[str, str]],
        jobs_per_worker: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        self.function = function
        self.environments = environments
        self.jobs_per_worker = jobs_per_worker
        self.context: SpawnContext | ForkServerContext
        if preload:
            self.context = start_server(preload)
        else:
            self.context = multiprocessing.get_context("spawn")
        self.workers: list[_Worker] = []
        self.previous_handlers: dict[int, Any] = {}

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Give every item to the next free worker.

        Args:
            items: what the function takes; each can be pickled.

        Yields:
            the index of an item, and what the function returned or `Died`; in the order
            in which the items are done.
        """
        waiting = deque(range(len(items)))
        while True:
            for slot in self._free_slots()[: len(waiting)]:
                self._give(slot, waiting.popleft(), items)
            busy = {}
            for worker in self.workers:
                if worker.job is not None:
                    busy[worker.connection] = worker
            if not busy:
                return
            for ready in connection.wait(list(busy)):
                assert isinstance(ready, connection.Connection)
                yield self._take(busy[ready])

    def _free_slots(self) -> list[int]:
        """The places of workers that have no job or have not been started yet."""
        taken = {worker.slot for worker in self.workers if worker.job is not None}
        return [slot for slot in range(len(self.environments)) if slot not in taken]

    def _give(self, slot: int, job: int, items: Sequence[Any]) -> None:
        """Send an item to the worker of a slot, which is started if there is none."""
        worker = self._worker_of(slot) or self._start(slot)
        worker.job = job
        worker.jobs_taken += 1
        try:
            worker.connection.send(items[job])
        except OSError:
            # The worker died while it had nothing to do. Another one takes the job.
            self._end(worker)
            worker = self._start(slot)
            worker.job = job
            worker.jobs_taken = 1
            worker.connection.send(items[job])

    def _take(self, worker: _Worker) -> tuple[int, Any]:
        """Receive the value of a worker's job."""
        job = worker.job
        assert job is not None
        worker.job = None
        try:
            value = worker.connection.recv()
        except (EOFError, OSError):
            return job, Died(self._end(worker))
        if worker.jobs_taken == self.jobs_per_worker:
            self._end(worker)
        return job, value

    def _worker_of(self, slot: int) -> _Worker | None:
        for worker in self.workers:
            if worker.slot == slot:
                return worker
        return None

    def _start(self, slot: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        process = self._start_process(slot, theirs)
        theirs.close()
        worker = _Worker(process, ours, slot)
        self.workers.append(worker)
        return worker

    def _start_process(self, slot: int, jobs: connection.Connection) -> BaseProcess:
        """Start a process; a server that was killed is started again for it."""
        for _ in range(MOST_STARTS):
            process = self.context.Process(
                target=_serve,
                args=(self.function, jobs, self.environments[slot]),
                name=f"worker-{slot}",
            )
            try:
                with _blocked(STOP_SIGNALS):
                    process.start()
                return process
            except (EOFError, ConnectionError):
                # Until the system has removed the server, it counts as running.
                time.sleep(SECONDS_BETWEEN_STARTS)
        raise Stopped(
            "the process that starts the workers was killed "
            "(the system does this when memory runs out)",
            exit_code=1,
        )

    def _end(self, worker: _Worker) -> int:
        """Wait until a worker has ended, and return its exit code."""
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        exit_code = worker.process.exitcode
        assert exit_code is not None
        return exit_code

    def __enter__(self) -> "Workers":
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self.previous_handlers[number] = signal.signal(number, raise_stopped)
        # At its exit Python waits for all processes, even if an exception has left this
        # block open in a generator. Before that, this asks the workers to end.
        self.at_exit = Finalize(
            self, _end_all, (self.workers, signal.SIGTERM), exitpriority=0
        )
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.at_exit.cancel()
        try:
            if error is not None:
                self._ignore_repetitions()
            _end_all(self.workers, signal.SIGTERM)
        except Stopped:
            # A second signal: do not wait for what the workers still write.
            _end_all(self.workers, signal.SIGKILL)
            raise
        finally:
            for number, handler in self.previous_handlers.items():
                signal.signal(number, handler)

    def _ignore_repetitions(self) -> None:
        """Do not take the signal that ended the block for a second one."""
        for number in self.previous_handlers:
            if may_come_twice(number):
                signal.signal(number, lambda number, frame: None)


def _end_all(workers: list[_Worker], number: int) -> None:
    """End all workers and wait for them.

    Those that have a job get the signal. The others end when their connection closes.
    """
    for worker in workers:
        pid = worker.process.pid
        if worker.job is not None and pid is not None and worker.process.is_alive():
            os.kill(pid, number)
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join()


def start_server(preload: Sequence[str]) -> SpawnContext | ForkServerContext:
    """Start the server process whose forks are the workers.

    This returns at once, while the server still imports. A second call changes nothing.
    On systems other than Linux, libraries do not promise to survive a fork. There is no
    server then, and every worker imports for itself.

    Args:
        preload: names of the modules that the server imports.

    Returns:
        the context whose processes are the workers.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    modules = list(preload)
    # The system kills the server when the thread that started it ends. Only the end of
    # the main thread is the end of the process.
    if threading.current_thread() is threading.main_thread():
        modules.insert(0, "normlab.sweeps.fork_server")
    context.set_forkserver_preload(modules)
    # The server inherits which signals are blocked. No signal may end it.
    with _blocked(STOP_SIGNALS):
        ensure_running()
    return context


@contextmanager
def _blocked(signals: Sequence[int]) -> Iterator[None]:
    """Let signals wait until the end of the block."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def raise_stopped(number: int, frame: Any) -> None:
    """Raise `Stopped`; this is a handler of signals.

    Args:
        number: the number of the signal.
        frame: where the program was; Python passes it to every handler.
    """
    raise Stopped(f"stopped by {signal.Signals(number).name}", 128 + number)


def _serve(
    function: Callable[[Any], Any],
    jobs: connection.Connection,
    environment: dict[str, str],
) -> None:
    """What a worker process does: receive items and send back values."""
    os.setpgid(0, 0)
    os.environ.update(environment)
    # What the server process has imported, a million objects, stays: the collector
    # need not scan it again, half a second at a time.
    gc.freeze()
    # A run in training installs handlers of its own. At any other moment the files of a
    # job are in order and a signal may end the process.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        while True:
            jobs.send(function(jobs.recv()))
    except (EOFError, BrokenPipeError):
        return  # there are no more jobs


def _stop_with_parent() -> None:
    """Stop as on a signal when the launcher ends, and thus write a checkpoint.

    A launcher that is killed cannot send signals to its workers.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
