"""Cache the outputs of frozen layers, so that an epoch of the head takes seconds.

Shapes: N stored samples, V views of each (1, or 2 with the mirrored image), F features.
"""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
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

    def features(rows: Tensor, images: Tensor, num_views: int) -> Tensor:
        frozen = _Frozen(network, plain, num_views, device, context)
        return _features_of(rows, images, frozen, cache)

    num_views = 1
    if augmented.flip:
        num_views = 2
    rows = torch.cat([parts.train.rows, parts.validation.rows])
    train = features(rows, parts.train.inputs, num_views)
    test = features(parts.test.rows, parts.test.inputs, 1)
    return replace(
        parts,
        train=_with_inputs(parts.train, train, augmented.flip),
        validation=_with_inputs(parts.validation, train),
        test=_with_inputs(parts.test, test),
    )


def _with_inputs(part: Part, features: Tensor, flip: bool = False) -> Part:
    transform = FeatureTransform(flip)
    return replace(part, inputs=features, transform=transform, channels_last=False)


@dataclass(frozen=True)
class _Frozen:
    """The frozen layers of a network, and how they see an image.

    Attributes:
        network: on the device.
        transform: without augmentation.
        num_views: V.
        device: that computes the features.
        context: makes a context manager around every forward pass.
    """

    network: nn.Module
    transform: ImageTransform
    num_views: int
    device: torch.device
    context: Callable

    @torch.no_grad()
    def extract(self, images: Tensor) -> Tensor:
        """Compute features float32 ``(B, V, F)`` of images ``(B, C, H, W)``."""
        network = self.network
        extract = cast(Callable[[Tensor], Tensor], network.extract)
        images = images.to(self.device)
        views = [images, images.flip(-1)]
        training = network.training
        network.eval()
        features = []
        with self.context():
            for view in views[: self.num_views]:
                inputs = self.transform.evaluate(view)
                features.append(extract(inputs))
        network.train(training)
        return torch.stack(features, 1).float()

    def key(self, images: Tensor) -> str:
        """Digest of the frozen weights, the images and the settings."""
        settings = f"{self.transform} {self.num_views} {self.context}"
        head = f"{CACHE_VERSION} {type(self.network).__name__} {settings}"
        state = hashlib.sha256(head.encode())
        weights = self.network.get_submodule("features").state_dict()
        for tensor in (*weights.values(), images):
            shape = tuple(tensor.shape)
            state.update(f"{shape} {tensor.dtype}".encode())
            content = tensor.detach().cpu().contiguous()
            state.update(content.numpy().data)
        return state.hexdigest()[:20]


def _features_of(rows: Tensor, images: Tensor, frozen: _Frozen, cache: Path) -> Tensor:
    """Features of images ``(N, V, F)``; zeros for those that are not in `rows`."""
    used = rows.unique()
    if len(used) == len(images):
        return _cached_features(images, frozen, cache)
    features = _cached_features(images[used], frozen, cache)
    # No memory is used for the zeros.
    array = np.zeros((len(images), *features.shape[1:]), np.float32)
    array[used.numpy()] = features.numpy()
    return torch.from_numpy(array)


def _cached_features(images: Tensor, frozen: _Frozen, cache: Path) -> Tensor:
    key = frozen.key(images)
    first = frozen.extract(images[:1])
    return cached_array(
        cache / f"features-{key}.npy",
        (len(images), *first.shape[1:]),
        np.float32,
        lambda array: _fill(array, images, frozen),
        "or compute them in every epoch with cache_features=false",
    )


def _fill(array: np.ndarray, images: Tensor, frozen: _Frozen) -> None:
    """Write the features ``(N, V, F)`` of all images."""
    batches = images.split(BATCH_SIZE)
    start = 0
    what = f"features of {len(images)} images, in batches"
    for batch in with_progress(batches, len(batches), what):
        end = start + len(batch)
        features = frozen.extract(batch)
        array[start:end] = features.cpu().numpy()
        start = end
