"""Our norms compute what others' layers do, and the table says how closely."""

import pytest
import torch
from docs.agreement import Pair, largest, measure, pairs, row
from torch import nn

from normlab.norms import BatchNorm

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-4}
PAIRS = list(pairs())
NAMES = [f"{one.norm} {one.other}" for one in PAIRS]


@pytest.mark.parametrize(
    "pair", PAIRS, ids=[f"{one.norm} {one.other}" for one in PAIRS]
)
def test_the_layers_of_a_pair_agree(pair):
    found = measure(pair, (1, 5))
    differences = [found.output, found.input_gradient, found.evaluation]
    differences += [found.parameter_gradients or 0.0, *found.statistics]
    assert max(differences) < TOLERANCES[pair.dtype]


def test_differences_of_layers_that_disagree_are_found():
    momentum = Pair(
        "custom",
        "other momentum",
        lambda: BatchNorm(8, 1),
        lambda: nn.BatchNorm1d(8, momentum=0.2),
        (6, 8),
    )
    found = measure(momentum, (1, 2))
    assert found.output == found.input_gradient == pytest.approx(0, abs=1e-12)
    assert min(found.evaluation, *found.statistics) > 1e-3
    assert largest([(torch.tensor([1.0, -4.0]), torch.tensor([[3.0], [1.0]]))]) == 5.0


def test_a_row_has_a_cell_for_every_column():
    cells = row(PAIRS[0])[1:-1].split("|")
    assert len(cells) == 9
    assert cells[:4] == [" `custom` ", " torch BatchNorm1d ", " 2 ", " float64 "]
    assert cells[-1].count("/") == 2
