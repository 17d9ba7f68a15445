"""One epoch of the notebooks' MLP on MNIST: this project, a bare PyTorch loop, the notebooks' own loop.

    python benchmarks/epoch.py --root DATA        (the folder that holds MNIST/)

All three train 784-128-64-10 with batch norm, Adam 1e-3, batch 64, on the same 48,000 images, and score 12,000 after
the epoch. This project runs with everything on that is on by default: metrics, TensorBoard, norm statistics,
checkpoints. The three take turns, so that whatever else the machine does hits all alike.
"""

import argparse
import csv
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
import torchvision
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch import nn

from normlab.config import configuration_directory, run_folder
from normlab.experiment import run

NUM_TRAIN, BATCH = 48_000, 64


def network() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU()),
        *(nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU()),
        nn.Linear(64, 10),
    )


def bare(root: str) -> callable:
    """The floor: tensors in memory, nothing kept but the loss."""
    data = torchvision.datasets.MNIST(root, train=True)
    images, targets = data.data[:, None].float().div_(255).sub_(0.5).div_(0.5), data.targets
    net, loss_function = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def epoch() -> None:
        net.train()
        for rows in torch.randperm(NUM_TRAIN).split(BATCH):
            loss = loss_function(net(images[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            for inputs, labels in zip(images[NUM_TRAIN:].split(1000), targets[NUM_TRAIN:].split(1000), strict=True):
                loss_function(net(inputs), labels).item()

    return epoch


def notebook(root: str) -> callable:
    """As in the notebooks: torchvision's data set, transforms by image, a DataLoader, the loss read every step."""
    steps = [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize((0.5,), (0.5,))]
    data = torchvision.datasets.MNIST(root, train=True, transform=torchvision.transforms.Compose(steps))
    train = torch.utils.data.Subset(data, range(NUM_TRAIN))
    validation = torch.utils.data.Subset(data, range(NUM_TRAIN, len(data)))
    train_loader = torch.utils.data.DataLoader(train, BATCH, shuffle=True)
    validation_loader = torch.utils.data.DataLoader(validation, BATCH)
    net, loss_function = network(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def epoch() -> None:
        net.train()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = loss_function(net(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()
        net.eval()
        with torch.no_grad():
            for images, labels in validation_loader:
                loss_function(net(images), labels).item()

    return epoch


def ours(root: str, threads: int, epochs: int) -> list[float]:
    """Seconds of every epoch but the first, as the run itself recorded them."""
    with tempfile.TemporaryDirectory() as outputs:
        overrides = ["experiment=mlp_mnist", "norm=torch", f"dataset.root={root}", f"paths.outputs={outputs}"]
        overrides += ["progress=false", f"device.threads={threads}", f"trainer.max_epochs={epochs}", "device=cpu"]
        with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
            composed = compose("config", overrides=overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        config = OmegaConf.to_container(composed, resolve=False)
        del config["hydra"]
        config = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
        run(config)
        with open(run_folder(config) / "metrics.csv") as file:
            ends = [float(row["seconds"]) for row in csv.DictReader(file)]
    return [after - before for before, after in pairwise(ends)]


def timed(epoch: callable) -> float:
    started = time.perf_counter()
    epoch()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder that holds MNIST/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not Path(arguments.root, "MNIST").is_dir():
        parser.error(f"{arguments.root} must hold MNIST/; name the folder with --root")
    torch.set_num_threads(arguments.threads)
    seconds = {"bare loop": [], "normlab": [], "notebook": []}
    loops = {"bare loop": bare(arguments.root), "notebook": notebook(arguments.root)}
    timed(loops["bare loop"])
    for _ in range(arguments.rounds):
        seconds["bare loop"] += [timed(loops["bare loop"]) for _ in range(2)]
        seconds["normlab"] += ours(arguments.root, arguments.threads, 3)
        seconds["notebook"].append(timed(loops["notebook"]))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"threads {arguments.threads}, torch {torch.__version__}, medians of one epoch in seconds")
    for name, median in medians.items():
        spread = f"({min(seconds[name]):.3f} .. {max(seconds[name]):.3f}, n={len(seconds[name])})"
        print(f"{name:>10}  {median:7.3f}  {spread}  {median / medians['bare loop']:5.2f} x bare")
    print(f"the notebook's loop takes {medians['notebook'] / medians['normlab']:.1f} times as long as normlab")


if __name__ == "__main__":
    main()
