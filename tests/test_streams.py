import torch

from normlab.streams import numpy_generator, stream_seed, torch_generator


def test_streams_of_one_seed_differ_and_repeat():
    assert stream_seed(0, "order", 1) == stream_seed(0, "order", 1)
    seeds = {
        stream_seed(seed, name, index)
        for seed in (0, 1)
        for name in ("order", "split")
        for index in (0, 1)
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_start_at_the_same_place():
    first, second = (
        torch.rand(3, generator=torch_generator(0, "order")) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert numpy_generator(7, "split").integers(1000) == numpy_generator(
        7, "split"
    ).integers(1000)
