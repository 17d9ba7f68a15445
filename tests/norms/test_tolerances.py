"""docs/results/tolerances.md states what the code measures."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location(
    "tolerances", ROOT / "scripts" / "tolerances.py"
)
tolerances = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tolerances)


@pytest.mark.parametrize(
    "case", list(tolerances.cases()), ids=lambda case: " ".join(map(str, case))
)
def test_batch_norm_is_within_the_stated_tolerance_of_torchs(case):
    first, largest = tolerances.measure(*case)
    assert all(a <= b for a, b in zip(first, largest, strict=True))
    for quantity, value in zip(tolerances.QUANTITIES, largest, strict=True):
        assert value <= tolerances.TOLERANCES[case[0]], quantity


def test_the_document_states_the_tolerances_of_the_code():
    text = tolerances.DOCUMENT.read_text()
    before, after = text.split("## Measured")
    assert before == tolerances.document_head()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in after.splitlines()
        if "|" in line
    ]
    assert ["input", "layout", "axes", *tolerances.QUANTITIES] in rows
    measured = [row for row in rows if row[0].startswith(("float", "bfloat"))]
    assert [tuple(row[:3]) for row in measured] == [
        (tolerances.name(dtype), layout, str(rank))
        for dtype, layout, rank in tolerances.cases()
    ]
    for row in measured:
        values = [float(value) for cell in row[3:] for value in cell.split(",")]
        assert len(values) == 2 * len(tolerances.QUANTITIES)
        assert max(values) <= tolerances.TOLERANCES[getattr(torch, row[0])], row


def test_deviations_worked_by_head():
    assert tolerances.deviation(
        torch.tensor([1.0, 12.0]), torch.tensor([1.5, 9.0])
    ) == pytest.approx(0.3)
    with pytest.raises(
        ValueError,
        match=r"torch.float32 \(2,\) must be as PyTorch's torch.float64 \(2,\)",
    ):
        tolerances.deviation(torch.ones(2), torch.ones(2).double())
    with pytest.raises(ValueError, match="must be finite"):
        tolerances.deviation(torch.tensor([torch.nan]), torch.ones(1))


def test_a_norm_that_differs_is_found(monkeypatch):
    """Biased running variances, as in other frameworks, are beyond the tolerance."""

    class Biased(nn.BatchNorm1d):
        def forward(self, x):
            y, count = super().forward(x), x.numel() // x.shape[1]
            batch = x.detach().transpose(0, 1).flatten(1).var(1, correction=0)
            self.running_var.data.sub_(0.1 * batch / (count - 1))
            return y

    monkeypatch.setitem(tolerances.TORCHS, 2, Biased)
    first, _ = tolerances.measure(torch.float32, "contiguous", 2, steps=1)
    assert max(first[:3]) <= tolerances.TOLERANCES[torch.float32] < first[3]
