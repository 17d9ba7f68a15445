from normlab.sharing import shared, sharing


class Computed:
    """Counts how often it was computed."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return self.times


def test_every_run_computes_for_itself():
    compute = Computed()
    assert shared("data", {"fold": 0}, compute) == 1
    assert shared("data", {"fold": 0}, compute) == 2


def test_runs_of_one_block_share_what_they_compute():
    compute = Computed()
    with sharing():
        assert shared("data", {"fold": 0}, compute) == 1
        assert shared("data", {"fold": 0}, compute) == 1
        assert shared("data", {"fold": 1}, compute) == 2
        assert shared("step", {"fold": 0}, compute) == 3
    assert shared("data", {"fold": 0}, compute) == 4
