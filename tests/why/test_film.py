"""Frames of the film: which steps, and which numbers."""

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.norms import LayerNorm
from normlab.why.film import film_frame, film_layer, frame_steps


def test_frames_become_rarer():
    assert frame_steps(100, 6) == [0, 1, 3, 10, 32, 100]
    assert frame_steps(2, 6) == [0, 1, 2]
    assert frame_steps(1, 6) == [0, 1]


def test_a_frame_holds_running_and_batch_statistics():
    norm = nn.BatchNorm1d(2)
    norm.running_mean.copy_(torch.tensor([7.0, 8.0]))
    batches = [Block(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), None, 2)]
    network = nn.Sequential(norm)
    frame = film_frame(network, {"0": norm}, batches)
    assert frame["layer"].tolist() == ["0", "0"]
    assert frame["running_mean"].tolist() == [7.0, 8.0]
    assert frame["batch_mean"].tolist() == [1.0, 1.0]
    assert frame["running_var"].tolist() == [1.0, 1.0]
    assert frame["batch_var"].tolist() == pytest.approx([1.0, 0.0])
    assert norm.num_batches_tracked.item() == 0


def test_a_norm_without_running_statistics_has_no_frame():
    norm = LayerNorm(2, 1)
    batches = [Block(torch.ones(2, 2), None, 2)]
    assert film_frame(nn.Sequential(norm), {"0": norm}, batches).empty


def test_the_film_shows_the_last_layer():
    assert film_layer(["a", "b"]) == "b"
