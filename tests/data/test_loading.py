import pytest

from normlab.data import loading
from normlab.data.loading import load, shared_loads


@pytest.fixture
def built(monkeypatch):
    """The options of every call that loaded data."""
    calls = []

    def build(options):
        calls.append(options)
        return object()

    monkeypatch.setattr(loading, "build", build)
    return calls


def test_every_run_loads_for_itself(built):
    assert load({"fold": 0}) is not load({"fold": 0})
    assert built == [{"fold": 0}, {"fold": 0}]


def test_runs_of_one_block_share_what_they_load(built):
    with shared_loads():
        first = load({"fold": 0})
        assert load({"fold": 0}) is first
        assert load({"fold": 1}) is not first
    assert load({"fold": 0}) is not first
    assert built == [{"fold": 0}, {"fold": 1}, {"fold": 0}]
