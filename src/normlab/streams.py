"""Independent random streams from one seed, so that adding a layer does not change the order of the data."""

from zlib import crc32

import numpy as np
import torch


def stream_seed(seed: int, name: str, *index: int) -> int:
    """Seed of the stream `name` (initialization, order, split, augmentation, dropout), 63 bits.

    Args:
        seed: the run's seed; 0 is a seed like any other.
        name: what the numbers are for.
        index: position within the stream, such as the epoch.
    """
    entropy = np.random.SeedSequence([seed, crc32(name.encode()), *index])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: int, name: str, *index: int) -> torch.Generator:
    """A CPU generator at the start of a stream."""
    return torch.Generator().manual_seed(stream_seed(seed, name, *index))


def numpy_generator(seed: int, name: str, *index: int) -> np.random.Generator:
    """A numpy generator at the start of a stream."""
    return np.random.default_rng(stream_seed(seed, name, *index))
