"""Runs of a small network, which the tests of stacks share."""

import pytest

from stacked.runs import SMALL, Trained, plain, requests


@pytest.fixture
def runs(compose):
    """runs(*words): three runs of a small network, and their first requests."""

    def build(*words, count=3):
        config = plain(compose(*SMALL, *words))
        found = [Trained(config | {"seed": seed}) for seed in range(count)]
        return found, requests(found, [run.blocks[0] for run in found])

    return build
