"""Cache the outputs of frozen layers, so that an epoch of the head takes seconds.

Shapes: N stored samples, V views of each (1, or 2 with the mirrored image), F features.
"""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from normlab.data.array_cache import cached_array
from normlab.data.blocks import Part
from normlab.data.parts import Parts
from normlab.data.transforms import ImageTransform
from normlab.terminal import with_progress

CACHE_VERSION = 1  # part of the key: another number makes every older cache unused
BATCH_SIZE = 64


@dataclass(frozen=True)
class FeatureTransform:
    """Picks one view of stored features ``(N, V, F)``.

    Attributes:
        flip: whether to pick one of two views at random in training. Otherwise, and in
            evaluation, it is the first view.
    """

    flip: bool = False

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        if not self.flip:
            return {}
        return {"flip": torch.rand(num_samples, generator=generator) < 0.5}

    def train(self, features: Tensor, draws: dict[str, Tensor]) -> Tensor:
        if not self.flip:
            return features[:, 0]
        samples = torch.arange(len(features), device=features.device)
        return features[samples, draws["flip"].long()]

    def evaluate(self, features: Tensor) -> Tensor:
        return features[:, 0]


def can_be_computed_once(network: nn.Module, parts: Parts) -> bool:
    """Whether the frozen layers of a network see the same images in every epoch.

    They do if the network has frozen layers and the training images change by nothing
    but mirroring.
    """
    transform = parts.train.transform
    if not getattr(network, "frozen", False):
        return False
    if not isinstance(transform, ImageTransform):
        return False
    return replace(transform, flip=False) == parts.validation.transform


def with_features(
    parts: Parts,
    network: nn.Module,
    cache: Path,
    device: torch.device,
    context: Callable = nullcontext,
) -> Parts:
    """Replace the images by features, which are computed once and then cached.

    The key of the cache depends on the frozen weights, the images and their transform.
    Images that belong to no part have no features; zeros stand in their place.

    Args:
        parts: of images, for which `can_be_computed_once` is true.
        network: a network on `device`. Its method `extract` turns images into features,
            and `forward` takes either.
        cache: folder of the cache.
        device: the device that computes the features.
        context: makes a context manager around every forward pass, as for automatic
            mixed precision.
    """
    augmented = parts.train.transform
    plain = parts.validation.transform
    assert isinstance(augmented, ImageTransform)  # see `can_be_computed_once`
    assert isinstance(plain, ImageTransform)

    def extract(images: Tensor, num_views: int) -> Tensor:
        return _extract(network, plain, images.to(device), num_views, context)

    def features(images: Tensor, num_views: int) -> Tensor:
        key = _key(network, images, f"{plain} {num_views} {context}")
        feature_shape = extract(images[:1], num_views).shape[1:]
        return cached_array(
            cache / f"features-{key}.npy",
            (len(images), *feature_shape),
            np.float32,
            lambda array: _fill(array, images, partial(extract, num_views=num_views)),
            "or compute them in every epoch with cache_features=false",
        )

    def features_of(rows: Tensor, images: Tensor, num_views: int) -> Tensor:
        used = rows.unique()
        if len(used) == len(images):
            return features(images, num_views)
        return _at_rows(features(images[used], num_views), used, len(images))

    rows = torch.cat([parts.train.rows, parts.validation.rows])
    train = features_of(rows, parts.train.inputs, 2 if augmented.flip else 1)
    test = features_of(parts.test.rows, parts.test.inputs, 1)

    def part_of(part: Part, inputs: Tensor, flip: bool = False) -> Part:
        transform = FeatureTransform(flip)
        return replace(part, inputs=inputs, transform=transform, channels_last=False)

    return replace(
        parts,
        train=part_of(parts.train, train, augmented.flip),
        validation=part_of(parts.validation, train),
        test=part_of(parts.test, test),
    )


def _at_rows(features: Tensor, rows: Tensor, length: int) -> Tensor:
    """Put features where their images are; no memory is used for the others."""
    array = np.zeros((length, *features.shape[1:]), np.float32)
    array[rows.numpy()] = features.numpy()
    return torch.from_numpy(array)


def _fill(
    array: np.ndarray, images: Tensor, extract: Callable[[Tensor], Tensor]
) -> None:
    """Write the features ``(N, V, F)`` of all images."""
    batches = images.split(BATCH_SIZE)
    start = 0
    what = f"features of {len(images)} images, in batches"
    for batch in with_progress(batches, len(batches), what):
        end = start + len(batch)
        array[start:end] = extract(batch).cpu().numpy()
        start = end


@torch.no_grad()
def _extract(
    network: nn.Module,
    transform: ImageTransform,
    images: Tensor,
    num_views: int,
    context: Callable,
) -> Tensor:
    """Compute features float32 ``(B, V, F)`` of images ``(B, C, H, W)``."""
    extract = cast(Callable[[Tensor], Tensor], network.extract)
    views = (images, images.flip(-1))[:num_views]
    training = network.training
    network.eval()
    with context():
        features = [extract(transform.evaluate(view)) for view in views]
    network.train(training)
    return torch.stack(features, 1).float()


def _key(network: nn.Module, images: Tensor, settings: str) -> str:
    """Digest of the frozen weights, the images and the settings."""
    head = f"{CACHE_VERSION} {type(network).__name__} {settings}"
    state = hashlib.sha256(head.encode())
    weights = network.get_submodule("features").state_dict()
    for tensor in (*weights.values(), images):
        state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:20]
