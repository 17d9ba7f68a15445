"""What tests of comparisons share."""

import pytest

from normlab import metrics


@pytest.fixture(autouse=True)
def no_declared_metrics(monkeypatch):
    """Metrics that one test declares are unknown to the next."""
    monkeypatch.setattr(metrics, "_declared", {})
