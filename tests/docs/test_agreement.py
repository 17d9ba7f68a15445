"""Our norms compute what others' layers do, and the table says how closely."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from docs.agreement import (
    Pair,
    largest,
    measure,
    pairs,
    pairs_with_torchrl,
    row,
    with_version,
)
from torch import nn

from normlab.norms import BatchNorm

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-4}
PAIRS = list(pairs())
NAMES = [f"{one.norm} {one.other}" for one in PAIRS]
OTHER_MOMENTUM = Pair(
    "custom",
    "other momentum",
    lambda: BatchNorm(8, 1),
    lambda: nn.BatchNorm1d(8, momentum=0.2),
    (6, 8),
)


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_the_layers_of_a_pair_agree(pair):
    found = measure(pair, (1, 5))
    differences = [found.output, found.input_gradient, found.evaluation or 0.0]
    differences += [found.parameter_gradients or 0.0, *found.statistics]
    assert max(differences) < TOLERANCES[pair.dtype]


def test_differences_of_layers_that_disagree_are_found():
    found = measure(OTHER_MOMENTUM, (1, 2))
    assert found.output == pytest.approx(0, abs=1e-12)
    assert found.input_gradient == pytest.approx(0, abs=1e-12)
    assert min(found.evaluation, *found.statistics) > 1e-3
    assert largest([(torch.tensor([1.0, -4.0]), torch.tensor([[3.0], [1.0]]))]) == 5.0


def test_a_row_has_a_cell_for_every_column():
    cells = row(PAIRS[0])[1:-1].split("|")
    assert len(cells) == 9
    assert cells[:4] == [" `custom` ", " torch BatchNorm1d ", " 2 ", " float64 "]
    assert cells[-1].count("/") == 2


def test_layers_with_other_averages_are_compared_in_training_alone():
    pair = replace(OTHER_MOMENTUM, same_averages=False)
    found = measure(pair, (1, 2))
    assert found.output == pytest.approx(0, abs=1e-12)
    assert found.evaluation is None
    assert found.statistics == []
    assert row(pair)[1:-1].split("|")[-2:] == [" - ", " - "]


def test_batch_renorm_is_corrected_within_the_compared_batches():
    if not find_spec("torchrl"):
        pytest.skip("torchrl is not installed")
    *_, pair = pairs_with_torchrl()
    found = measure(pair, (1, 100))
    assert max(found.output, found.evaluation, *found.statistics) < 1e-9
    layer = pair.ours()
    assert (layer.warmup_steps, layer.ramp_steps, layer.r_max) == (60, 0, 3.0)


def test_packages_that_are_missing_are_said_to_be():
    assert with_version("torch").startswith("torch 2.")
    assert with_version("no-such-norms") == "no-such-norms (not installed)"
