"""Statistics of channels, against numbers worked out by hand."""

import pytest
import torch

from normlab.data.image_statistics import channel_statistics


def test_statistics_computed_by_hand():
    images = torch.tensor([[[[0, 255]], [[51, 51]]]], dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.2))
    assert std == pytest.approx((0.5, 0.0))


def test_statistics_count_the_chosen_rows_only(monkeypatch):
    monkeypatch.setattr(
        "normlab.data.image_statistics.STATISTICS_BYTES", 8
    )  # two images a chunk
    images = torch.tensor([0, 51, 102, 255, 255], dtype=torch.uint8)[
        :, None, None, None
    ].expand(5, 1, 2, 2)
    mean, std = channel_statistics(images, torch.tensor([0, 2, 1]))
    assert mean == pytest.approx((0.2,))
    assert std == pytest.approx(((0.08 / 3) ** 0.5,))
