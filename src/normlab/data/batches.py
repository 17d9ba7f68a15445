"""How many batches and optimizer steps an epoch has."""


def num_batches(num_samples: int, batch_size: int, smallest: int = 2) -> int:
    """Number of batches in an epoch.

    Args:
        num_samples: N.
        batch_size: samples that go through the network at once.
        smallest: fewest samples of a last batch. A smaller one is left out, since batch
            norm cannot use a single sample.
    """
    full, rest = divmod(num_samples, batch_size)
    has_last_batch = rest >= min(smallest, batch_size)
    return full + has_last_batch


def smallest_batch(world_size: int) -> int:
    """Fewest samples of a last batch: two per process, so that each can normalize."""
    return 2 * world_size


def steps_per_epoch(
    num_samples: int, batch_size: int, accumulate: int = 1, world_size: int = 1
) -> int:
    """Number of optimizer steps in an epoch.

    Args:
        num_samples: samples of the training part.
        batch_size: samples of a batch, over all processes together.
        accumulate: number of batches in a step; the last step may have fewer.
        world_size: number of processes.
    """
    batches = num_batches(num_samples, batch_size, smallest_batch(world_size))
    return ceil_div(batches, accumulate)


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide and round up."""
    return -(-dividend // divisor)
