"""Worker processes that keep their imports and take job after job; one that dies loses only the job it had."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.util import Finalize
from typing import Any

from normlab.endings import Stopped
from normlab.signals import STOP_SIGNALS


@dataclass(frozen=True)
class Died:
    """What a job gives whose worker ended under it.

    Attributes:
        exit_code: as of `multiprocessing.Process`: negative for a signal.
    """

    exit_code: int

    @property
    def reason(self) -> str:
        """One line that names the signal or the exit code."""
        number = -self.exit_code if self.exit_code < 0 else self.exit_code - 128
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            hint = (
                " (the system does this when memory runs out)"
                if name == "SIGKILL"
                else ""
            )
            return f"its worker process was ended by {name}{hint}"
        return f"its worker process ended with exit code {self.exit_code}"


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: connection.Connection
    slot: int
    job: int | None = None
    jobs_taken: int = 0


class Workers:
    """`with Workers(function, environments) as workers: for index, value in workers.run(items): ...`

    Within the `with`, the stop signals raise `Stopped`; its end waits until the workers have ended. Workers
    are in process groups of their own: Ctrl-C reaches them once, as the SIGTERM that this process sends on.

    Args:
        function: takes an item, returns what can be pickled; importable by name.
        environments: one worker for each, with these environment variables.
        jobs_per_worker: a worker is replaced after as many jobs, and its memory returns; None keeps it.
        preload: modules that a server process imports once; its forks are the workers. Empty starts each worker anew.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        environments: Sequence[dict[str, str]],
        jobs_per_worker: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        self.function, self.environments, self.jobs_per_worker = (
            function,
            environments,
            jobs_per_worker,
        )
        self.context = (
            start_server(preload) if preload else multiprocessing.get_context("spawn")
        )
        self.workers: list[_Worker] = []
        self.previous: dict[int, Any] = {}

    def run(self, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Give each item to the next free worker.

        Yields:
            index of the item, and what the function returned or `Died`; in the order in which they end.
        """
        waiting = deque(range(len(items)))
        while waiting or any(worker.job is not None for worker in self.workers):
            for slot in self._free_slots()[: len(waiting)]:
                self._give(slot, waiting.popleft(), items)
            busy = {
                worker.connection: worker
                for worker in self.workers
                if worker.job is not None
            }
            for ready in connection.wait(list(busy)):
                yield self._take(busy[ready])

    def _free_slots(self) -> list[int]:
        return [slot for slot in range(len(self.environments)) if self._is_free(slot)]

    def _is_free(self, slot: int) -> bool:
        return all(worker.job is None for worker in self.workers if worker.slot == slot)

    def _give(self, slot: int, job: int, items: Sequence[Any]) -> None:
        worker = next(
            (worker for worker in self.workers if worker.slot == slot), None
        ) or self._start(slot)
        worker.job, worker.jobs_taken = job, worker.jobs_taken + 1
        try:
            worker.connection.send(items[job])
        except OSError:  # it died while it had nothing to do; another one takes the job
            self._end(worker)
            worker = self._start(slot)
            worker.job, worker.jobs_taken = job, 1
            worker.connection.send(items[job])

    def _take(self, worker: _Worker) -> tuple[int, Any]:
        job, worker.job = worker.job, None
        try:
            value = worker.connection.recv()
        except (EOFError, OSError):
            return job, Died(self._end(worker))
        if worker.jobs_taken == self.jobs_per_worker:
            self._end(worker)
        return job, value

    def _start(self, slot: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        arguments = (self.function, theirs, self.environments[slot])
        process = self.context.Process(
            target=_serve, args=arguments, name=f"worker-{slot}"
        )
        with _held_back(STOP_SIGNALS):
            process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours, slot))
        return self.workers[-1]

    def _end(self, worker: _Worker) -> int:
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        return worker.process.exitcode

    def __enter__(self) -> "Workers":
        if threading.current_thread() is threading.main_thread():
            self.previous = {
                number: signal.signal(number, raise_stopped) for number in STOP_SIGNALS
            }
        # Python waits for all processes at its end, also where an exception left this `with` open in a generator.
        self.at_exit = Finalize(
            self, _end_all, (self.workers, signal.SIGTERM), exitpriority=0
        )
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.at_exit.cancel()
        try:
            _end_all(self.workers, signal.SIGTERM)
        except (
            Stopped
        ):  # asked again: now without waiting for what the workers still write
            _end_all(self.workers, signal.SIGKILL)
            raise
        finally:
            for number, handler in self.previous.items():
                signal.signal(number, handler)


def _end_all(workers: list[_Worker], number: int) -> None:
    """Send the signal to those that have a job; the others end by themselves."""
    for worker in workers:
        if worker.job is not None and worker.process.is_alive():
            os.kill(worker.process.pid, number)
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join()


def start_server(preload: Sequence[str]) -> multiprocessing.context.BaseContext:
    """Begin to import `preload` in a process whose forks are workers; returns at once, a second call changes nothing.

    Elsewhere than on Linux libraries do not promise to survive a fork: there every worker imports for itself.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing.forkserver import ensure_running

    context = multiprocessing.get_context("forkserver")
    if (
        threading.current_thread() is threading.main_thread()
    ):  # the end of this thread would be the server's
        preload = ["normlab.sweeps.fork_server", *preload]
    context.set_forkserver_preload(list(preload))
    with _held_back(
        STOP_SIGNALS
    ):  # what is held back here stays so in the server: a signal must not end it
        ensure_running()
    return context


class _held_back:
    """Signals wait until the end of the `with`."""

    def __init__(self, signals: Sequence[int]) -> None:
        self.signals = signals

    def __enter__(self) -> None:
        self.previous = signal.pthread_sigmask(signal.SIG_BLOCK, self.signals)

    def __exit__(self, *error: Any) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self.previous)


def raise_stopped(number: int, frame: Any) -> None:
    """A handler of signals."""
    raise Stopped(f"stopped by {signal.Signals(number).name}", 128 + number)


def _serve(
    function: Callable[[Any], Any],
    jobs: connection.Connection,
    environment: dict[str, str],
) -> None:
    os.setpgid(0, 0)
    os.environ.update(environment)
    for number in STOP_SIGNALS:  # a run in training handles them itself; at any other moment its folder is in order
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        while True:
            jobs.send(function(jobs.recv()))
    except (EOFError, BrokenPipeError):  # no more jobs
        return


def _stop_with_parent() -> None:
    """A launcher that was killed can tell nobody: its workers stop as on a signal, and leave a checkpoint."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
