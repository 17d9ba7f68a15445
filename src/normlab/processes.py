"""A run in several processes: started here, so that neither Hydra nor the command line runs twice."""

import logging
import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from normlab.checkpoints import load, load_latest, save

OUTCOME = ".outcome.ckpt"
PRUNED = 75


def fit_in_processes(config: dict, folder: Path) -> dict:
    """`normlab.training.fit` in `device.devices` processes that share every batch; what the first one reports.

    Raises:
        Interrupted: a signal stopped the run; its state is in the folder.
        RuntimeError: a process died.
    """
    devices = config["device"]["devices"]
    outcome = folder / OUTCOME
    outcome.unlink(missing_ok=True)
    arguments = (config, folder, _free_port(), torch.get_num_threads())
    context = torch.multiprocessing.start_processes(_one_process, arguments, devices, join=False, start_method="spawn")
    with _signals_passed_on(context.pids()):
        try:
            while not context.join():
                pass
        except torch.multiprocessing.ProcessExitedException as error:
            _raise_stopped(error, folder)
    try:
        return load(outcome)
    finally:
        outcome.unlink(missing_ok=True)


def _one_process(rank: int, config: dict, folder: Path, port: int, threads: int) -> None:
    from normlab.callbacks import Pruned
    from normlab.signals import Interrupted
    from normlab.training import fit, prepare

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    os.environ["WORLD_SIZE"] = str(config["device"]["devices"])
    torch.set_num_threads(max(1, threads // config["device"]["devices"]))
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)
    try:
        outcome = fit(config, prepare(config), folder)
    except Interrupted as interrupted:
        os._exit(interrupted.exit_code)  # the process group has a peer that has already gone
    except Pruned:
        os._exit(PRUNED)
    if rank == 0:
        save(folder / OUTCOME, outcome)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _raise_stopped(error: torch.multiprocessing.ProcessExitedException, folder: Path) -> None:
    from normlab.callbacks import Pruned
    from normlab.signals import Interrupted

    if error.exit_code == PRUNED:
        progress = load_latest(folder / "checkpoints")["progress"]
        raise Pruned(progress["epoch"], progress["seconds"]) from None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        if error.exit_code == 128 + number:
            raise Interrupted(number) from None
    raise RuntimeError(f"process {error.error_index} of the run died: {error}") from error


@contextmanager
def _signals_passed_on(processes: list[int]):
    """SIGTERM reaches this process alone and Ctrl-C all of them: pass on the first, survive the second."""

    def pass_on(number: int, frame: object) -> None:
        for process in processes:
            os.kill(process, number)

    previous = {}
    try:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            previous[number] = signal.signal(number, pass_on)
        handler = (lambda number, frame: None) if sys.stdin.isatty() else pass_on
        previous[signal.SIGINT] = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: signals go elsewhere
        pass
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
