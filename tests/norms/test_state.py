"""What a layer remembers, in buffers or out of PyTorch's sight."""

import torch
from torch import nn

from normlab.norms.state import (
    changed_paths,
    graph_size,
    snapshot,
    state_of,
    with_graph,
)


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("average", torch.zeros(2))
        self.hidden = torch.zeros(2)
        self.steps = 0
        self.flag = True
        self.name = "holder"
        self.history = [torch.ones(1), {"last": 3.5}]

    def forward(self, x):
        self.average = self.average + self.weight * x
        self.hidden.add_(1)
        self.steps += 1
        return x


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Holder()


def test_tensors_and_numbers_are_found_at_their_places():
    places = {path: entry.place for path, entry in state_of(Outer()).items()}
    assert places == {
        "inner.weight": "parameter",
        "inner.average": "buffer",
        "inner.hidden": "attribute",
        "inner.steps": "attribute",
        "inner.history[0]": "attribute",
        "inner.history[1]['last']": "attribute",
    }


def test_what_a_step_changes_is_named():
    layer = Holder()
    before = snapshot(layer)
    assert changed_paths(before, snapshot(layer)) == []
    layer(torch.ones(2))
    assert changed_paths(before, snapshot(layer)) == ["average", "hidden", "steps"]
    assert before["hidden"].tolist() == [0.0, 0.0]


def test_values_that_are_no_numbers_are_equal_to_themselves():
    before = {"a": torch.tensor([1.0, float("nan")])}
    assert changed_paths(before, {"a": torch.tensor([1.0, float("nan")])}) == []
    assert changed_paths(before, {"a": torch.tensor([1.0, 0.0])}) == ["a"]
    assert changed_paths(before, {}) == ["a"]
    assert changed_paths(before, {"a": torch.ones(3)}) == ["a"]


def test_a_graph_that_grows_is_measured():
    layer = Holder()
    assert with_graph(layer) == []
    sizes = []
    for _ in range(3):
        layer(torch.ones(2))
        sizes.append(graph_size([layer.average]))
    assert with_graph(layer) == ["average"]
    # The first step: a sum, a product and the leaf; every further one a sum and a
    # product more.
    assert sizes == [3, 5, 7]
