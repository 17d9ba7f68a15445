"""Runs that train as one stacked network, against runs by themselves.

    python benchmarks/stacked.py DATA [--steps]

DATA is the folder that holds MNIST/. The steps of stacks and of single runs are
measured in turns in one process with one thread; then whole sweeps against
hydra/launcher=queue. With --steps, the sweeps are left out.
"""

import ctypes
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

from measure import Row, configured, in_new_process, show, take_turns, timed
from process import command

PR_SET_CHILD_SUBREAPER = 36  # see the manual page prctl(2)
ROUNDS = 15
STEPS = 20
SEEDS = [{"seed": seed} for seed in range(30)]
TABLE = ["dataset=diabetes", "model=tabular", "model.hidden=[20,10]"]
PAIRS = [(lr, momentum) for lr in (0.01, 0.03, 0.1, 0.2, 0.3) for momentum in range(6)]
SWEEP = ["dataset.normalize=none,train", "dataset.fold=range(5)", "seed=range(10)"]


def step_rows(data: str) -> list[Row]:
    """The time of a step of 30 runs together against that of 30 runs alone."""
    pairs = []
    for lr, momentum in PAIRS:
        pairs.append({"optimizer": {"lr": lr, "momentum": momentum / 6}})
    wanted = [
        ("table 20-20-10-1, 30 members", TABLE, SEEDS, 10),
        ("digits, 30 pairs of learning rate and momentum", [], pairs, 2.5),
        (
            "MNIST 784-128-64-10, 10 members",
            ["dataset=mnist", f"dataset.root={data}"],
            SEEDS[:10],
            1,
        ),
    ]
    rows = []
    for what, words, changes, reach in wanted:
        value, reference = in_new_process(_step_seconds, words, changes)
        what = f"{what}: a step, one thread"
        rows.append(Row(what, "the same runs alone", value, reference, reach, True))
    return rows


def _step_seconds(words: list[str], changes: list[dict]) -> tuple[float, float]:
    """Seconds of a step of all runs, in a stack and one after the other."""
    import torch

    torch.set_num_threads(1)
    stacked = _runs(words, changes)
    alone = _runs(words, changes)
    both = {"stacked": _in_stack(stacked), "alone": _one_by_one(alone)}
    found = take_turns(both, ROUNDS)
    return found["stacked"] / STEPS, found["alone"] / STEPS


def compiled_row() -> Row:
    """The time of a compiled step of a stack against that of the stack as it is."""
    value, reference, seconds = in_new_process(_compiled_step_seconds)
    what = "table 20-20-10-1, 30 members: a compiled step, one thread"
    note = f"compiling took {seconds:.0f} s"
    return Row(what, "a step as it is", value, reference, 1.5, True, note=note)


def _compiled_step_seconds() -> tuple[float, float, float]:
    """Seconds of a compiled step and of one as it is, and of compiling."""
    import torch

    from normlab.stacked.compilation import compiled_forward
    from normlab.stacked.stack import Stack
    from normlab.training.compilation import CACHE_VARIABLE
    from normlab.training.together import Request

    torch.set_num_threads(1)
    runs = _runs(TABLE, SEEDS)
    requests = [Request(task, block, 0) for task, block in runs]
    tasks = [task for task, _ in runs]
    with tempfile.TemporaryDirectory() as cache:
        os.environ[CACHE_VARIABLE] = cache
        started = time.perf_counter()
        forward = compiled_forward(Stack(tasks), requests, len(runs))
        seconds = time.perf_counter() - started
    others = _runs(TABLE, SEEDS)
    both = {"compiled": _in_stack(runs, forward), "stacked": _in_stack(others)}
    found = take_turns(both, ROUNDS)
    return found["compiled"] / STEPS, found["stacked"] / STEPS, seconds


def _runs(words: list[str], changes: list[dict]) -> list[tuple]:
    """The task and the first block of every run."""
    from normlab.data.blocks import TrainBlocks
    from normlab.training.preparation import prepare

    config = configured(*words, "progress=false", "norm=custom")
    runs = []
    for change in changes:
        own = config | {"seed": change.get("seed", 0)}
        own["optimizer"] = config["optimizer"] | change.get("optimizer", {})
        prepared = prepare(own)
        task = prepared.task
        task._trainer = SimpleNamespace(world_size=1, callbacks=[])
        task.trainer.optimizers = [task.configure_optimizers()]
        size = own["dataset"]["batch_size"]
        blocks = TrainBlocks(prepared.parts.train, size, own["seed"], task.progress)
        runs.append((task, next(iter(blocks)).first_batches(1)))
    return runs


def _in_stack(runs: list[tuple], compiled: Callable | None = None) -> Callable:
    from normlab.stacked.stack import Stack, batches
    from normlab.training.together import Request

    stack = Stack([task for task, _ in runs], compiled=compiled)
    batch = next(batches([Request(task, block, 0) for task, block in runs]))

    def steps() -> None:
        for _ in range(STEPS):
            stack.step(batch)

    return timed(steps)


def _one_by_one(runs: list[tuple]) -> Callable[[], float]:
    def steps() -> None:
        for task, block in runs:
            for _ in range(STEPS):
                loss = task.loss(task.network(block.inputs), block.targets)
                task.trainer.optimizers[0].zero_grad()
                loss.backward()
                task.trainer.optimizers[0].step()

    return timed(steps)


def sweep_rows(data: str) -> list[Row]:
    """Whole sweeps against the queue, all cores."""
    mnist = ["dataset=mnist", f"dataset.root={data}", "trainer.max_epochs=3"]
    wanted = [
        (
            "tabular_kfold, 300 runs",
            ["experiment=tabular_kfold", "norm=none,custom,layer", *SWEEP],
            5,
        ),
        ("60 runs of digits", ["norm=none,custom,layer", "seed=range(20)"], 2),
        ("MNIST MLP, 10 seeds", [*mnist, "seed=range(10)"], 0.952),
    ]
    rows = []
    for what, words, reach in wanted:
        stacked, stacked_work = in_new_process(_sweep_seconds, "stacked", words)
        queue, queue_work = in_new_process(_sweep_seconds, "queue", words)
        note = f"processor time: {stacked_work:.0f} s against {queue_work:.0f} s"
        against = "hydra/launcher=queue"
        rows.append(Row(what, against, stacked, queue, reach, True, note=note))
    return rows


def _sweep_seconds(launcher: str, words: list[str]) -> tuple[float, float]:
    """Seconds of a sweep, on the clock and of the processors."""
    # The workers' parent ends after the command: this process waits for it in its
    # place, so that the system counts its work here.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as outputs:
        seconds = command(
            *("train.py", "-m", f"hydra/launcher={launcher}", *words),
            *("progress=false", f"paths.outputs={outputs}"),
        )()
        with suppress(ChildProcessError):
            while True:
                os.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, usage.ru_utime + usage.ru_stime


def memory_row() -> Row:
    """The peak of the memory of 30 runs of digits in a stack, against one run."""
    stack, one = (in_new_process(_peak_mebibytes, count) for count in (30, 1))
    what = "30 runs of digits: peak memory"
    return Row(what, "one run", stack, one, 1.5, unit="MiB")


def _peak_mebibytes(count: int) -> float:
    from normlab.stacked.driver import train_stack
    from normlab.stacked.grouping import Options
    from normlab.training.experiment import run, run_with_output

    with tempfile.TemporaryDirectory() as outputs:
        words = ("progress=false", "trainer.max_epochs=2", f"paths.outputs={outputs}")
        config = configured(*words)
        configs = [config | {"seed": seed} for seed in range(count)]
        if count == 1:
            run(config)
        else:
            train_stack(configs, run_with_output, Options(members=count))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows(data: str, *options: str) -> list[Row]:
    found = [*step_rows(data), compiled_row(), memory_row()]
    return found if "--steps" in options else [*found, *sweep_rows(data)]


if __name__ == "__main__":
    show(rows(*sys.argv[1:]))
