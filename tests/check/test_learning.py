"""What a layer learns and does not is told by the names that it has itself."""

import pytest
import torch
from torch import nn

from normlab.check.examination import examine


class LayerNorm(nn.Module):
    """Layer norm with the parameters of a subclass."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.num_features = num_features
        self.start()

    def start(self):
        pass

    def standardize(self, x):
        axes = tuple(range(1, x.ndim))
        mean = x.mean(axes, keepdim=True)
        var = x.var(axes, keepdim=True, correction=0)
        return (x - mean) / torch.sqrt(var + self.eps)

    def forward(self, x):
        return self.standardize(x)


class ScaleOnly(LayerNorm):
    def start(self):
        self.gain = nn.Parameter(torch.ones(self.num_features))

    def forward(self, x):
        return self.standardize(x) * self.gain.view(1, -1, *[1] * (x.ndim - 2))


class ShiftOnly(LayerNorm):
    def start(self):
        self.beta = nn.Parameter(torch.zeros(self.num_features))

    def forward(self, x):
        return self.standardize(x) + self.beta.view(1, -1, *[1] * (x.ndim - 2))


class PowerOnly(LayerNorm):
    def start(self):
        self.power = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x):
        return self.standardize(x) * (self.power - 1)


def missing(norm, kind):
    findings = examine(norm, like=kind).findings
    (finding,) = [one for one in findings if one.fault == "learned_missing"]
    return finding


@pytest.mark.parametrize(
    ("norm", "sentence", "fix"),
    [
        (LayerNorm, "The layer has no parameters: nothing about it is learned.", None),
        (ScaleOnly, "The layer learns a scale, gain, and no shift.", "Give it a shift"),
        (ShiftOnly, "The layer learns a shift, beta, and no scale.", "Give it a scale"),
        (PowerOnly, "The layer has no scale and shift, only power.", None),
    ],
)
def test_what_is_missing_is_named_beside_what_is_there(norm, sentence, fix):
    finding = missing(norm, "layer")
    assert finding.sentence == sentence
    assert finding.fix.startswith(fix or "Give it a scale and shift")


def test_the_example_is_that_of_the_kind():
    class RootMeanSquareNorm(nn.Module):
        def __init__(self, num_features):
            super().__init__()

        def forward(self, x):
            return x / x.abs().mean(1, keepdim=True)

    findings = examine(RootMeanSquareNorm, like="rms").findings
    code = {finding.fault: finding.code for finding in findings}
    assert "self.bias" not in code["learned_missing"]
    assert "mean_square" in code["other_output"]
