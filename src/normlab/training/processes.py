"""A run in several processes: started here, so that neither Hydra nor the command line runs twice."""

import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from normlab import signals
from normlab.endings import Interrupted, Pruned, disk_is_full
from normlab.training.checkpoints import load, load_latest, save

OUTCOME, LOCK = ".outcome.ckpt", ".lock.processes"
PRUNED, NO_SPACE = 75, 74  # exit codes of a process
SECONDS_TO_STOP = 30

Work = Callable[[dict, Path], dict]  # a configuration and its folder to an outcome


def build_strategy(device: dict) -> Strategy | str:
    """Lightning's strategy; `fsdp` is its strategy for PyTorch's `fully_shard`, see `normlab.device.sharding`.

    Lightning's own of that name takes GPUs only.
    """
    if device["strategy"] != "fsdp":
        return device["strategy"]
    return ModelParallelStrategy(
        device["devices"], tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def fit_in_processes(work: Work, config: dict, folder: Path) -> dict:
    """Do `work` in `device.devices` processes that share every batch; returns what the first one reports.

    Args:
        work: importable by name, since the processes are spawned.

    Raises:
        Interrupted: a signal stopped the run or one of its processes; its state is in the folder.
        OSError: no space is left for its files.
        RuntimeError: a process failed.
    """
    while True:
        try:
            return _fit(work, config, folder)
        except (
            Interrupted
        ) as interrupted:  # who only notes the signal lets the processes start again
            signals.hand_over(
                interrupted.signal_number, signal.getsignal(interrupted.signal_number)
            )


def _fit(work: Work, config: dict, folder: Path) -> dict:
    outcome = folder / OUTCOME
    outcome.unlink(missing_ok=True)
    with FileLock(
        folder / LOCK
    ):  # processes whose parent was killed end by themselves, but not at once
        pass
    context = _start(work, config, folder)
    try:
        with _signals_passed_on(context.pids()):
            while not context.join(grace_period=SECONDS_TO_STOP):
                pass
        return load(outcome)
    except ProcessExitedException as error:
        raise _reason(error.exit_code, error.error_index, folder) from error
    except ProcessRaisedException as error:
        raise RuntimeError(
            f"process {error.error_index}: {str(error).strip().splitlines()[-1]}"
        ) from error
    finally:
        outcome.unlink(missing_ok=True)


def _start(
    work: Work, config: dict, folder: Path
) -> torch.multiprocessing.ProcessContext:
    arguments, devices = (
        (work, config, folder, _free_port(), torch.get_num_threads()),
        config["device"]["devices"],
    )
    return torch.multiprocessing.start_processes(
        _one_process, arguments, devices, join=False, start_method="spawn"
    )


def _one_process(
    rank: int, work: Work, config: dict, folder: Path, port: int, threads: int
) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
    }
    os.environ["WORLD_SIZE"] = str(config["device"]["devices"])
    torch.set_num_threads(max(1, threads // config["device"]["devices"]))
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(
        logging.WARNING
    )
    lock = FileLock(folder / LOCK)
    if rank == 0:  # the one that writes
        lock.acquire()
    try:
        outcome = work(config, folder)
        if rank == 0:
            save(folder / OUTCOME, outcome)
    except Interrupted as interrupted:
        os._exit(
            interrupted.exit_code
        )  # the process group has a peer that has already gone
    except Pruned:
        os._exit(PRUNED)
    except Exception as error:
        if disk_is_full(error):
            os._exit(NO_SPACE)
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _reason(exit_code: int, rank: int, folder: Path) -> Exception:
    """What the exit code of a process says; death by a signal is an interruption, whoever sent it."""
    if exit_code == PRUNED:
        progress = load_latest(folder / "checkpoints")["progress"]
        return Pruned(progress["epoch"], progress["seconds"])
    if exit_code == NO_SPACE:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in set(signal.Signals):
        return Interrupted(number)
    return RuntimeError(f"process {rank} ended with exit code {exit_code}")


@contextmanager
def _signals_passed_on(processes: list[int]) -> Iterator[None]:
    """SIGTERM reaches this process alone and a terminal's Ctrl-C all of them: pass on the first, survive the second."""

    def pass_on(number: int, frame: Any) -> None:
        if number == signal.SIGINT and sys.stdin.isatty():
            return
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    with signals.restored():
        signals.install(pass_on)
        yield


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
