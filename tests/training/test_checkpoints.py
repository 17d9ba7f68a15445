"""What a checkpoint says of the random numbers; whole runs are resumed elsewhere."""

import torch

from normlab.training.checkpoints import random_state, set_random_state

CPU = torch.device("cpu")


def test_random_numbers_continue_where_they_were():
    state = random_state(CPU)
    first = torch.rand(3)
    set_random_state(state, CPU, 0)
    assert torch.equal(first, torch.rand(3))


def test_every_process_continues_with_its_own_random_numbers():
    states, expected = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(torch.get_rng_state())
        expected.append(torch.rand(3))
    for rank in (0, 1):
        set_random_state({"cpu": torch.stack(states), "cuda": []}, CPU, rank)
        assert torch.equal(torch.rand(3), expected[rank])


def test_earlier_versions_stored_the_state_of_the_first_process():
    torch.manual_seed(3)
    state = {"cpu": torch.get_rng_state(), "cuda": []}
    first = torch.rand(3)
    for rank in (0, 1):
        set_random_state(state, CPU, rank)
        assert torch.equal(torch.rand(3), first)
