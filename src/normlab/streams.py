"""Independent streams of random numbers, all from the one seed of a run.

Since each use has a stream of its own, adding a layer does not change the order of the
data, and two runs that differ in the norm alone see the same batches.
"""

from zlib import crc32

import numpy as np
import torch

from normlab.sharing import shared


def stream_seed(seed: int, name: str, *index: int) -> int:
    """The seed of a stream, a number of 63 bits.

    Args:
        seed: seed of the run; 0 is a seed like any other.
        name: what the numbers are for: initialization, order, split, train size,
            augmentation, mixing or dropout.
        index: position in the stream, such as the epoch.
    """
    entropy = np.random.SeedSequence([seed, crc32(name.encode()), *index])
    return int(entropy.generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: int, name: str, *index: int) -> torch.Generator:
    """A generator of torch, on the CPU, at the start of a stream."""
    return torch.Generator().manual_seed(stream_seed(seed, name, *index))


def numpy_generator(seed: int, name: str, *index: int) -> np.random.Generator:
    """A generator of numpy at the start of a stream."""
    return np.random.default_rng(stream_seed(seed, name, *index))


def seed_generators(seed: int) -> None:
    """Set torch's default generators to the start of a stream.

    Without a GPU, `torch.manual_seed` keeps a description of every call for later.
    """
    if shared("has a GPU", None, _has_gpu):
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()
