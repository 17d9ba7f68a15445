"""Augmented images: normlab's blocks against torchvision's transforms in a DataLoader with two workers.

    python benchmarks/images.py DATA        (the folder that holds tiny-imagenet-20/ or tiny-imagenet-200/)

CIFAR-10's images are random numbers of its shape: what they show changes no time. Photographs are decoded once and
mapped from the cache, so what is measured is the second epoch and every later one. First with one thread, then with
as many as the other side has workers; its own process has the same threads for the network. As in a run, freed memory
is kept on normlab's side.
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

BATCH, WORKERS = 64, 2
MEAN, STD = (0.5,) * 3, (0.25,) * 3


class Images(torch.utils.data.Dataset):
    """As torchvision's CIFAR10 hands images over: arrays in memory, made a Pillow image on access."""

    def __init__(
        self, images: torch.Tensor, targets: torch.Tensor, transform: Callable
    ) -> None:
        self.images, self.targets, self.transform = (
            images.permute(0, 2, 3, 1).numpy(),
            targets.tolist(),
            transform,
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


def workers(data: torch.utils.data.Dataset) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
    )


def epoch(batches: Callable[[], Iterable], net: nn.Module | None) -> Callable[[], None]:
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


def ours(
    batches: Callable[[], Iterable], net: nn.Module | None = None
) -> Callable[[], None]:
    """An epoch as a run has it."""
    return epoch(batches, net)


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
        "normlab": ours(blocks(part), nets[0]),
        "workers": epoch(lambda: loader, nets[1]),
    }
    epochs["network"] = ours(lambda: ready, nets[2])
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
        "normlab": timed(ours(blocks(part))),
        "workers": timed(epoch(lambda: loader, None)),
    }
    median = take_turns(arms, 3 * rounds)  # they are short
    name = f"input of an epoch, {len(part):,} Tiny-ImageNet images, windows and flips, {size} pixels"
    against = f"ImageFolder and DataLoader, {WORKERS} workers"
    return Row(name, against, median["normlab"], median["workers"], reach, faster=True)


def share_row(part: Part) -> Row:
    """What the input takes of the time that it and AlexNet take, at 224 pixels."""
    net = AlexNet((3, 224, 224), 200, torch_batch_norm)
    some = Part(part.inputs, part.targets, part.rows[:256], part.transform)
    median = take_turns(
        {"input": timed(ours(blocks(some))), "all": timed(ours(blocks(some), net))}, 2
    )
    note = "its share of the time; it and the network have the same threads"
    what, against = "input of AlexNet at 224 pixels", "input and training steps"
    return Row(what, against, median["input"], median["all"], 0.5, note=note)


def rows(root: str, rounds: int = 5) -> list[Row]:
    folder, found = photographs(root), []
    for threads in (1, WORKERS):
        torch.set_num_threads(threads)
        measured = cifar_rows(rounds) + (
            photograph_rows(folder, rounds) if folder else []
        )
        found += [
            replace(row, what=f"{row.what}, {threads} thread{'s' * (threads > 1)}")
            for row in measured
        ]
    return found


if __name__ == "__main__":
    show(rows(sys.argv[1] if len(sys.argv) > 1 else "data"))
