"""The MLP on MNIST as a bare PyTorch loop over tensors in memory, to compare with.

    python benchmarks/bare.py DATA [EPOCHS]

It keeps no records and no checkpoints, and reads one loss per epoch.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torchvision
from notebook import NUM_TRAIN, network
from torch import Tensor, nn


def bare_epoch(
    net: nn.Module,
    parts: tuple[Tensor, ...],
    batch_size: int,
    context: Callable = nullcontext,
    **options,
) -> Callable[[], None]:
    """A function that trains one epoch and computes the validation loss.

    Args:
        net: The network.
        parts: Inputs and targets for training, then inputs and targets for validation.
        batch_size: The number of samples per batch.
        context: Makes the context of a forward pass.
        options: Further arguments of Adam.
    """
    inputs, targets, validation_inputs, validation_targets = parts
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, **options)

    def epoch() -> None:
        net.train()
        for rows in torch.randperm(len(inputs), device=inputs.device).split(batch_size):
            with context():
                loss = loss_function(net(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad(), context():
            for images, labels in zip(
                validation_inputs.split(1000),
                validation_targets.split(1000),
                strict=True,
            ):
                loss_function(net(images), labels).item()

    return epoch


def mnist(root: str) -> tuple[Tensor, ...]:
    """Normalized images ``(N, 1, 28, 28)`` and targets of training and validation."""
    data = torchvision.datasets.MNIST(root, train=True)
    images = data.data[:, None].float().div_(255).sub_(0.5).div_(0.5)
    return (
        images[:NUM_TRAIN],
        data.targets[:NUM_TRAIN],
        images[NUM_TRAIN:],
        data.targets[NUM_TRAIN:],
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    epoch = bare_epoch(network(), mnist(sys.argv[1]), 64, fused=True)
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 10):
        epoch()
