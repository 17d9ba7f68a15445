"""The notebooks' way to train the MLP on MNIST, as a script to compare with.

    python benchmarks/notebook.py DATA [EPOCHS]

It has torchvision's data set, transforms image by image, a DataLoader, a loss that is
read in every step, and accuracy over three loaders.
"""

import sys
from collections.abc import Callable

import torch
import torchvision
from torch import nn

NUM_TRAIN = 48_000
BATCH = 64


def network() -> nn.Module:
    """784-128-64-10 with batch norm."""
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 128), nn.BatchNorm1d(128), nn.ReLU()),
        *(nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU()),
        nn.Linear(64, 10),
    )


def loaders(root: str) -> tuple:
    """Loaders of the training and the validation part."""
    steps = [
        torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize((0.5,), (0.5,)),
    ]
    data = torchvision.datasets.MNIST(
        root, train=True, transform=torchvision.transforms.Compose(steps)
    )
    train = torch.utils.data.Subset(data, range(NUM_TRAIN))
    validation = torch.utils.data.Subset(data, range(NUM_TRAIN, len(data)))
    return (
        torch.utils.data.DataLoader(train, BATCH, shuffle=True),
        torch.utils.data.DataLoader(validation, BATCH),
    )


def epoch_of(train, validation, net: nn.Module) -> Callable[[], None]:
    """A function that trains one epoch and computes the validation loss."""
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def epoch() -> None:
        net.train()
        for images, labels in train:
            optimizer.zero_grad()
            loss = loss_function(net(images), labels)
            loss.backward()
            optimizer.step()
            loss.item()
        net.eval()
        with torch.no_grad():
            for images, labels in validation:
                loss_function(net(images), labels).item()

    return epoch


def accuracy(net: nn.Module, loader) -> float:
    """The mean accuracy over batches, as the notebooks compute it."""
    with torch.no_grad():
        found = [
            (net(images).argmax(1) == labels).float().mean().item()
            for images, labels in loader
        ]
    return sum(found) / len(found)


def main() -> None:
    root = sys.argv[1]
    epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    train, validation = loaders(root)
    net = network()
    epoch = epoch_of(train, validation, net)
    for _ in range(epochs):
        epoch()
    test = torchvision.datasets.MNIST(
        root, train=False, transform=train.dataset.dataset.transform
    )
    test = torch.utils.data.DataLoader(test, BATCH)
    print([round(accuracy(net, loader), 4) for loader in (train, validation, test)])


if __name__ == "__main__":
    main()
