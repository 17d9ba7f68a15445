"""What a checkpoint says of the random numbers; whole runs are resumed elsewhere."""

import torch

from normlab.training.checkpoints import random_state, set_random_state


def test_random_numbers_continue_where_they_were():
    state = random_state()
    first = torch.rand(3)
    set_random_state(state)
    assert torch.equal(first, torch.rand(3))
