"""Augmented images: blocks of normlab against a DataLoader with two workers.

    python benchmarks/images.py DATA

DATA is the folder that holds tiny-imagenet-20/ or tiny-imagenet-200/. The DataLoader
applies torchvision's transforms. CIFAR-10's images are random numbers of its shape,
which take the same time. Photographs are decoded once and mapped from the cache, so the
second epoch and later ones are measured. Both sides have one thread first, then as many
as there are workers.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from measure import Row, configured, photographs, show, take_turns, timed
from PIL import Image
from torch import nn
from torchvision import transforms

from normlab.data.blocks import Part, Progress, TrainBlocks
from normlab.data.parts import load_parts
from normlab.data.transforms import ImageTransform
from normlab.models import AlexNet, LeNet5
from normlab.norms import torch_batch_norm

BATCH = 64
WORKERS = 2
MEAN = (0.5,) * 3
STD = (0.25,) * 3


class Images(torch.utils.data.Dataset):
    """Arrays in memory that become Pillow images on access, as in torchvision."""

    def __init__(
        self, images: torch.Tensor, targets: torch.Tensor, transform: Callable
    ) -> None:
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.targets = targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


def workers(data: torch.utils.data.Dataset) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )


def epoch(
    batches: Callable[[], Iterable], net: nn.Module | None = None
) -> Callable[[], None]:
    """Training steps over batches, or the batches alone."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, fused=True) if net else None

    def run() -> None:
        for inputs, targets in batches():
            if net:
                loss = nn.functional.cross_entropy(net(inputs), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def blocks(part: Part) -> Callable[[], Iterable]:
    def batches() -> Iterable:
        for block in TrainBlocks(part, BATCH, 0, Progress()):
            yield from zip(
                block.inputs.split(BATCH), block.targets.split(BATCH), strict=True
            )

    return batches


def cifar_rows(rounds: int, count: int = 10_000) -> list[Row]:
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
    targets = torch.randint(10, (count,))
    part = Part(
        images,
        targets,
        torch.arange(count),
        ImageTransform(MEAN, STD, 32, flip=True, crop_padding=4),
    )
    steps = [
        transforms.RandomCrop(32, 4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    loader = workers(
        Images(
            images,
            targets,
            transforms.Compose([*steps, transforms.Normalize(MEAN, STD)]),
        )
    )
    ready = list(blocks(part)())
    nets = [LeNet5((3, 32, 32), 10, torch_batch_norm) for _ in range(3)]
    epochs = {
        "normlab": epoch(blocks(part), nets[0]),
        "workers": epoch(lambda: loader, nets[1]),
    }
    epochs["network"] = epoch(lambda: ready, nets[2])
    median = take_turns({name: timed(run) for name, run in epochs.items()}, rounds)
    name = f"epoch of LeNet-5, {count:,} images of CIFAR-10's size, flip and crop"
    note = f"the network alone, on ready batches, takes {median['network']:.3g} s"
    against = f"torchvision and DataLoader, {WORKERS} workers"
    return [
        Row(
            name,
            against,
            median["normlab"],
            median["workers"],
            3,
            faster=True,
            note=note,
        )
    ]


def photograph_rows(root: Path, rounds: int) -> list[Row]:
    found = []
    with tempfile.TemporaryDirectory() as outputs:
        for size, reach in ((64, 8), (224, 1)):
            words = [
                f"dataset.root={root}",
                "dataset.augment.flip=true",
                f"paths.outputs={outputs}",
            ]
            words += [
                "dataset.augment.resized_crop=[0.25,1]",
                f"dataset.image_size={size}",
                "dataset.validation=0.01",
            ]
            part = load_parts(configured("dataset=tiny_imagenet", *words), size).train
            found.append(input_row(part, root, size, reach, rounds))
        return [*found, share_row(part)]


def input_row(part: Part, root: Path, size: int, reach: float, rounds: int) -> Row:
    """Batches without a network."""
    window = transforms.RandomResizedCrop(size, (0.25, 1.0))
    steps = [
        window,
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    folder = torchvision.datasets.ImageFolder(
        str(root / "train"), transforms.Compose(steps)
    )
    loader = workers(torch.utils.data.Subset(folder, range(len(part))))
    arms = {
        "normlab": timed(epoch(blocks(part))),
        "workers": timed(epoch(lambda: loader)),
    }
    median = take_turns(arms, 3 * rounds)  # they are short
    name = (
        f"input of an epoch, {len(part):,} Tiny-ImageNet images, windows and flips, "
        f"{size} pixels"
    )
    against = f"ImageFolder and DataLoader, {WORKERS} workers"
    return Row(name, against, median["normlab"], median["workers"], reach, faster=True)


def share_row(part: Part) -> Row:
    """The input's share of the time of an epoch of AlexNet at 224 pixels."""
    net = AlexNet((3, 224, 224), 200, torch_batch_norm)
    first = Part(part.inputs, part.targets, part.rows[:256], part.transform)
    arms = {
        "input": timed(epoch(blocks(first))),
        "all": timed(epoch(blocks(first), net)),
    }
    median = take_turns(arms, 2)
    return Row(
        "input of AlexNet at 224 pixels",
        "input and training steps",
        median["input"],
        median["all"],
        0.5,
        note="its share of the time; it and the network have the same threads",
    )


def rows(root: str, rounds: int = 2) -> list[Row]:
    folder = photographs(root)
    found = []
    for threads in (1, WORKERS):
        torch.set_num_threads(threads)
        measured = cifar_rows(rounds)
        if folder:
            measured += photograph_rows(folder, rounds)
        unit = "thread" if threads == 1 else "threads"
        for row in measured:
            found.append(replace(row, what=f"{row.what}, {threads} {unit}"))
    return found


if __name__ == "__main__":
    show(rows(sys.argv[1] if len(sys.argv) > 1 else "data"))
