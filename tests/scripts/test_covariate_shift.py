"""The demonstration shows what its text says."""

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "covariate_shift.py"


def test_the_shift_passes_through_training_statistics_only():
    found = runpy.run_path(str(SCRIPT))["outputs"]()
    moments = {name: (parts[1].mean().item(), parts[1].std().item()) for name, parts in found.items()}
    assert moments["inputs"] == pytest.approx((2.0, 1.5), abs=0.02)
    assert moments["batch norm, training statistics"] == pytest.approx((2.0, 1.5), abs=0.02)
    assert moments["batch norm, statistics taken anew"] == pytest.approx((0.0, 1.0), abs=0.02)
    assert moments["layer norm"] == pytest.approx((0.0, 1.0), abs=0.01)
