"""Likely lines, by reading the source."""

import torch
from torch import nn

from normlab.check.source import Source, bare_name


def helper(x, moving_var, eps):
    root = torch.sqrt(moving_var + eps)  # line of the root
    moving_var = moving_var * 2  # line of the update
    return x / root, moving_var  # line of the division


class Layer(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))  # line of gamma
        self.register_buffer("mean", torch.zeros(num_features))  # line of the buffer
        self.moving_var = torch.ones(num_features)

    def forward(self, x):  # line of forward
        x -= 1  # line that works in place
        average = x.mean(0)  # line of the statistics
        frozen = average.detach()  # line of the cut
        self.mean.mul_(0.9).add_(0.1 * frozen)  # line of the mean
        y, self.moving_var = helper(x, self.moving_var, 1e-5)
        return y * self.gamma  # line of the use


SOURCE = Source(Layer)


def line_with(words):
    lines = [n for n, text in enumerate(SOURCE.lines, 1) if text.endswith(f"# {words}")]
    assert len(lines) == 1
    return lines[0]


def test_lines_are_found_in_the_class_and_its_helpers():
    assert SOURCE.start("gamma") == line_with("line of gamma")
    assert SOURCE.start("inner.mean") == line_with("line of the buffer")
    assert SOURCE.definition("forward") == line_with("line of forward")
    assert SOURCE.in_place_on_input() == line_with("line that works in place")
    assert SOURCE.statistics() == line_with("line of the statistics")
    assert SOURCE.cut() == line_with("line of the cut")
    assert SOURCE.update("mean") == line_with("line of the mean")
    assert SOURCE.update("moving_var") == line_with("line of the update")
    assert SOURCE.division() == line_with("line of the division")
    assert SOURCE.affine("gamma") == line_with("line of the use")
    assert SOURCE.mentions("sqrt") == line_with("line of the root")
    assert SOURCE.text(line_with("line of forward")).startswith("def forward(self, x):")


def test_what_is_not_there_has_no_line():
    assert SOURCE.start("nothing") is None
    assert SOURCE.update("nothing") is None
    assert SOURCE.definition("backward") is None
    assert SOURCE.text(None) == ""
    assert SOURCE.text(10**6) == ""


def test_a_layer_without_source_has_no_lines():
    source = Source.empty()
    assert (source.path, source.statistics(), source.root()) == (None, None, None)


def test_names_of_state_become_names_of_attributes():
    assert bare_name("inner.running_mean[0]") == "running_mean"
