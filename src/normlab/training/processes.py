"""Run one function in several processes that train together.

They are started here and not by Lightning, which would run the command line again in
each of them, and Hydra with it.
"""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from normlab import locks, signals
from normlab.endings import (
    STORAGE_ERRORS,
    Interrupted,
    LeaseLost,
    NoResult,
    Pruned,
    disk_is_full,
    find_file_error,
)
from normlab.locks import Lock
from normlab.terminal import output_may_end, print_line
from normlab.training.checkpoint_files import load, load_latest, save

OUTCOME = ".outcome.ckpt"
LOCK = ".lock.processes"
SECONDS_TO_STOP = 30

# Exit codes of a process that ends early; 128 and above mean signals.
NO_SPACE = 74
PRUNED = 75
LEASE_LOST = 76
NO_RESULT = 77
FIRST_STORAGE_ERROR = 80  # plus the index of the error in STORAGE_ERRORS

Work = Callable[[dict, Path], dict]  # from a configuration and its folder to an outcome


def fit_in_processes(work: Work, config: dict, folder: Path, processes: int) -> dict:
    """Call `work(config, folder)` in several processes that share every batch.

    Args:
        work: a function that can be imported by its name, since processes are spawned.
        config: its first argument, a resolved configuration.
        folder: its second argument, the run folder.
        processes: number of processes.

    Returns:
        what the first process returned: tensors and plain types.

    Raises:
        Interrupted: a signal stopped the run or one of its processes; its state is in
            the folder.
        Pruned: a search stopped the run.
        LeaseLost: another process has taken over the run.
        OSError: no space is left for its files, or they cannot be used.
        RuntimeError: a process failed.
    """
    while True:
        try:
            return _fit_once(work, config, folder, processes)
        except Interrupted as interrupted:
            number = interrupted.signal_number
            # Raises unless the handler only notes the signal; then the run continues.
            signals.hand_over(number, signal.getsignal(number))


def _fit_once(work: Work, config: dict, folder: Path, processes: int) -> dict:
    outcome = folder / OUTCOME
    outcome.unlink(missing_ok=True)
    # The processes of a parent that was killed end by themselves, but not at once.
    # With a lease, they can write no more once this process has taken it over.
    if not locks.leases():
        with Lock(folder / LOCK):
            pass

    context = _start(work, config, folder, processes)
    try:
        with _signals_passed_on(context.pids()):
            while not context.join(grace_period=SECONDS_TO_STOP):
                pass
        return load(outcome)
    except ProcessExitedException as error:
        raise _reason(error.exit_code, error.error_index, folder) from error
    except ProcessRaisedException as error:
        last_line = str(error).strip().splitlines()[-1]
        raise RuntimeError(f"process {error.error_index}: {last_line}") from error
    finally:
        outcome.unlink(missing_ok=True)


def _start(
    work: Work, config: dict, folder: Path, processes: int
) -> torch.multiprocessing.ProcessContext:
    threads = max(1, torch.get_num_threads() // processes)
    port = _free_port()
    arguments = (work, config, folder, processes, port, threads, locks.leases())
    return torch.multiprocessing.start_processes(
        _one_process, arguments, processes, join=False, start_method="spawn"
    )


@output_may_end()
def _one_process(
    rank: int,
    work: Work,
    config: dict,
    folder: Path,
    processes: int,
    port: int,
    threads: int,
    leases: dict[Path, str],
) -> None:
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(port)
    os.environ["LOCAL_RANK"] = str(rank)
    os.environ["NODE_RANK"] = "0"
    os.environ["WORLD_SIZE"] = str(processes)
    # Lightning was imported before the variables were set. Until the trainer exists, it
    # would take every process for the first, and each would begin records of loggers.
    rank_zero_only.rank = rank  # type: ignore[attr-defined] # of a function
    torch.set_num_threads(threads)
    locks.adopt(leases)
    lock = Lock(folder / LOCK)
    if rank == 0 and not leases:  # the only one that writes
        lock.acquire()

    try:
        outcome = work(config, folder)
        if rank == 0:
            save(folder / OUTCOME, outcome)
    # os._exit, since an orderly exit would wait for processes that have already ended.
    except Interrupted as interrupted:
        os._exit(interrupted.exit_code)
    except Pruned:
        os._exit(PRUNED)
    except LeaseLost:
        os._exit(LEASE_LOST)
    except NoResult as reason:
        print_line(str(reason))
        os._exit(NO_RESULT)
    except Exception as error:
        if disk_is_full(error):
            os._exit(NO_SPACE)
        file_error = find_file_error(error, folder)
        if file_error is not None and file_error.errno in STORAGE_ERRORS:
            os._exit(FIRST_STORAGE_ERROR + STORAGE_ERRORS.index(file_error.errno))
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _reason(exit_code: int, rank: int, folder: Path) -> Exception:
    """The exception that the exit code of a process stands for.

    Death by a signal is an interruption, whoever sent it.
    """
    if exit_code == PRUNED:
        state = load_latest(folder / "checkpoints")
        assert state is not None  # written before the run is pruned
        return Pruned(state["progress"]["epoch"], state["progress"]["seconds"])
    if exit_code == LEASE_LOST:
        return LeaseLost(folder)
    if exit_code == NO_RESULT:
        return NoResult("the run cannot be trained now, see above")
    if exit_code == NO_SPACE:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    storage_error = exit_code - FIRST_STORAGE_ERROR
    if 0 <= storage_error < len(STORAGE_ERRORS):
        code = STORAGE_ERRORS[storage_error]
        return OSError(code, os.strerror(code))
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in set(signal.Signals):
        return Interrupted(number)
    return RuntimeError(f"process {rank} ended with exit code {exit_code}")


@contextmanager
def _signals_passed_on(pids: list[int]) -> Iterator[None]:
    """Pass stop signals on to the processes, and survive them here.

    SIGTERM reaches this process alone. Ctrl-C in a terminal reaches all of them, so
    that it needs no passing on.
    """

    def pass_on(number: int, frame: Any) -> None:
        if number == signal.SIGINT and sys.stdin.isatty():
            return
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    with signals.restored():
        signals.install(pass_on)
        yield


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
