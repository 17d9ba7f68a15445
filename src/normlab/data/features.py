"""What a frozen part of a network makes of the samples: computed once, so that its head trains in seconds an epoch.

Shapes: N stored samples, V views of each (1, or 2 with the mirrored image), F features.
"""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from normlab.data.array_cache import cached_array
from normlab.data.blocks import Part
from normlab.data.parts import Parts
from normlab.data.transforms import ImageTransform

CACHE_VERSION = 1  # another number makes every older cache unused
BATCH_SIZE = 64


@dataclass(frozen=True)
class FeatureTransform:
    """Picks a view of stored features ``(N, V, F)``: in training with `flip` one of the two at random."""

    flip: bool = False

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        return (
            {"flip": torch.rand(num_samples, generator=generator) < 0.5}
            if self.flip
            else {}
        )

    def train(self, features: Tensor, draws: dict[str, Tensor]) -> Tensor:
        if not self.flip:
            return features[:, 0]
        return features[
            torch.arange(len(features), device=features.device), draws["flip"].long()
        ]

    def evaluate(self, features: Tensor) -> Tensor:
        return features[:, 0]


def can_be_computed_once(network: nn.Module, parts: Parts) -> bool:
    """Whether the network has a frozen part, and its inputs are the same in every epoch but for mirroring."""
    transform = parts.train.transform
    frozen = getattr(network, "frozen", False) and isinstance(transform, ImageTransform)
    return frozen and not transform.crop_padding and transform.resized_crop is None


def with_features(
    parts: Parts,
    network: nn.Module,
    cache: Path,
    device: torch.device,
    context: Callable = nullcontext,
) -> Parts:
    """The same parts with features in place of images, from the cache or computed into it.

    The cache is keyed by the frozen weights, the images and what is done to them.

    Args:
        parts: of images, see `can_be_computed_once`.
        network: `extract` turns images into features, `forward` takes either.
        cache: folder of the cache.
        device: on which features are computed; `network` is there already.
        context: wraps every forward pass, as for automatic mixed precision.
    """
    flip = parts.train.transform.flip
    plain = parts.validation.transform

    def features(images: Tensor, views: int) -> Tensor:
        key = _key(network, images, f"{plain} {views} {context}")
        probe = _extract(network, plain, images[:1].to(device), views, context)
        return cached_array(
            cache / f"features-{key}.npy",
            (len(images), *probe.shape[1:]),
            np.float32,
            lambda array: _fill(array, network, plain, images, views, device, context),
            "or compute them in every epoch with cache_features=false",
        )

    train = features(parts.train.inputs, 2 if flip else 1)
    test = features(parts.test.inputs, 1)
    return replace(
        parts,
        train=Part(
            train, parts.train.targets, parts.train.rows, FeatureTransform(flip)
        ),
        validation=Part(
            train, parts.validation.targets, parts.validation.rows, FeatureTransform()
        ),
        test=Part(test, parts.test.targets, parts.test.rows, FeatureTransform()),
    )


def _fill(
    array: np.ndarray,
    network: nn.Module,
    plain: ImageTransform,
    images: Tensor,
    views: int,
    device: torch.device,
    context: Callable,
) -> None:
    batches = images.split(BATCH_SIZE)
    done = 0
    for batch in track(
        batches,
        "features of the frozen layers",
        transient=True,
        disable=len(batches) < 20,
    ):
        array[done : done + len(batch)] = (
            _extract(network, plain, batch.to(device), views, context).cpu().numpy()
        )
        done += len(batch)


@torch.no_grad()
def _extract(
    network: nn.Module,
    plain: ImageTransform,
    images: Tensor,
    views: int,
    context: Callable,
) -> Tensor:
    """Images ``(B, C, H, W)`` to features ``(B, V, F)``."""
    training = network.training
    network.eval()
    with context():
        made = [
            network.extract(plain.evaluate(view))
            for view in (images, images.flip(-1))[:views]
        ]
    network.train(training)
    return torch.stack(made, 1).float()


def _key(network: nn.Module, images: Tensor, how: str) -> str:
    state = hashlib.sha256(f"{CACHE_VERSION} {type(network).__name__} {how}".encode())
    for tensor in (*network.features.state_dict().values(), images):
        state.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:20]
