"""In a run of one process; tests/training/test_processes.py has several."""

import torch

from normlab.training.collectives import (
    gather_over_processes,
    largest_over_processes,
    sum_over_processes,
)


def test_one_process_sums_to_its_own_values():
    values = torch.tensor([1.0, 2.0])
    assert sum_over_processes(values) is values
    assert values.tolist() == [1.0, 2.0]


def test_one_process_is_the_only_row():
    assert gather_over_processes(torch.tensor([1.0, 2.0])).tolist() == [[1.0, 2.0]]


def test_one_process_decides_by_its_own_value():
    assert largest_over_processes(3, torch.device("cpu")) == 3
