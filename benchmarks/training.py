"""Steps, epochs and evaluation against bare PyTorch, on one thread.

    python benchmarks/training.py DATA

DATA is the folder that holds MNIST/. normlab runs with everything that is on by
default: metrics, TensorBoard, statistics of the norms, checkpoints and the progress
bar. The bare loop runs over tensors in memory and keeps nothing; one has the same fused
optimizer, a second one PyTorch's default.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bare import bare_epoch, mnist
from measure import Row, configured, epoch_seconds, show, take_turns, timed
from notebook import epoch_of, loaders, network
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.blocks import EvaluationBlocks
from normlab.evaluation.evaluate import evaluate_run
from normlab.training.checkpoint_files import BEST, load
from normlab.training.experiment import run
from normlab.training.preparation import prepare

ROWS = 25_000
FEATURES = 20


def mlp_rows(root: str, rounds: int) -> list[Row]:
    parts = mnist(root)
    words = [
        "experiment=mlp_mnist",
        "norm=torch",
        f"dataset.root={root}",
        "trainer.max_epochs=3",
    ]
    arms = {
        "normlab": lambda: epoch_seconds(*words, "device.threads=1"),
        "fused": timed(bare_epoch(network(), parts, 64, fused=True)),
        "default": timed(bare_epoch(network(), parts, 64)),
        "notebook": timed(epoch_of(*loaders(root), network())),
    }
    median = take_turns(arms, rounds)
    name = "epoch of MLP 784-128-64-10, MNIST"
    return [
        Row(
            name,
            "bare loop, the same fused Adam",
            median["normlab"],
            median["fused"],
            1.2,
        ),
        Row(
            name,
            "bare loop, PyTorch's default Adam",
            median["normlab"],
            median["default"],
            1.2,
        ),
        Row(
            name,
            "the notebook's loop",
            median["normlab"],
            median["notebook"],
            6,
            faster=True,
        ),
    ]


def table_rows(rounds: int) -> list[Row]:
    """A network 20-32-2 on a made-up table, batches of 32."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    classes = (inputs[:, 0] + inputs[:, 1] > 0).astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        header = ",".join([*(f"x{column}" for column in range(FEATURES)), "class"])
        np.savetxt(
            path,
            np.column_stack([inputs, classes]),
            "%.6g",
            ",",
            header=header,
            comments="",
        )
        words = [
            "dataset=csv",
            f"dataset.root={path}",
            "dataset.target=class",
            "dataset.task=classification",
        ]
        words += [
            "dataset.drop=[]",
            "model=mlp",
            "model.hidden=[32]",
            "norm=torch",
            "optimizer=adam",
        ]
        words += ["trainer.max_epochs=3", "device.threads=1", "dataset.batch_size=32"]
        train = round(ROWS * 0.8 * 0.8)
        tensors = torch.from_numpy(inputs), torch.from_numpy(classes)
        parts = tuple(
            part[rows]
            for rows in (slice(train), slice(train, train + 4000))
            for part in tensors
        )
        net = nn.Sequential(
            nn.Linear(FEATURES, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2)
        )
        arms = {
            "normlab": lambda: epoch_seconds(*words),
            "bare": timed(bare_epoch(net, parts, 32, fused=True)),
        }
        median = take_turns(arms, rounds)
    name = f"epoch of MLP 20-32-2, table of {train:,} rows, batch 32"
    return [
        Row(
            name,
            "bare loop, the same fused Adam",
            median["normlab"],
            median["bare"],
            1.5,
        )
    ]


def evaluation_rows(root: str, rounds: int) -> list[Row]:
    """Score a stored run from its folder, against forward passes over ready inputs."""
    words = [
        "dataset=mnist",
        f"dataset.root={root}",
        "model=lenet5",
        "norm=torch",
        "optimizer.lr=0.01",
    ]
    with tempfile.TemporaryDirectory() as outputs:
        config = configured(
            *words, "trainer.max_epochs=1", "progress=false", f"paths.outputs={outputs}"
        )
        run(config)
        prepared = prepare(config)
        parts = (prepared.parts.train, prepared.parts.validation, prepared.parts.test)
        ready = [block.inputs for part in parts for block in EvaluationBlocks(part)]
        network = prepared.task.network.eval()
        network.load_state_dict(
            load(run_folder(config) / "checkpoints" / BEST)["network"]
        )

        def forward() -> None:
            with torch.no_grad():
                for inputs in ready:
                    network(inputs)

        arms = {
            "normlab": timed(lambda: evaluate_run(run_folder(config))),
            "bare": timed(forward),
        }
        median = take_turns(arms, rounds)
    name = "evaluation of a stored run, LeNet-5, all 70,000 images of MNIST"
    return [Row(name, "forward passes alone", median["normlab"], median["bare"], 1.2)]


def rows(root: str, rounds: int = 2) -> list[Row]:
    torch.set_num_threads(1)
    return [
        *mlp_rows(root, rounds),
        *table_rows(rounds),
        *evaluation_rows(root, rounds),
    ]


if __name__ == "__main__":
    print("1 thread")
    show(rows(sys.argv[1]))
