import pytest

from normlab.endings import DiskFull, Interrupted, Stopped
from normlab.stacked import driver
from normlab.stacked.driver import Ended
from normlab.stacked.grouping import Options, Plan
from normlab.sweeps import stacks
from normlab.sweeps.jobs import Job
from normlab.sweeps.stacks import Item, Trained, print_stacks, train_together
from normlab.sweeps.workers import Died

RESULT = {"status": "finished", "metrics": {}, "seconds": 1.0}


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def stack_ends(monkeypatch):
    """stack_ends(results, notes): what `train_stack` returns; singles give `RESULT`."""

    def end(results, notes=()):
        def train_stack(configs, run, options, sharers):
            assert (options, sharers) == (Options(exact=False), 2)
            return Ended(results, list(notes))

        monkeypatch.setattr(driver, "train_stack", train_stack)
        monkeypatch.setattr(stacks, "result_of", lambda config: RESULT | config)

    return end


def item(*configs):
    return Item(list(configs), Options(exact=False), 2)


def test_results_of_a_stack_keep_their_order(stack_ends, tmp_path):
    stack_ends(
        [RESULT, None, DiskFull(tmp_path), ValueError("no data")],
        ["the memory has room for 2 of 4 runs at once"],
    )
    trained = train_together(item({}, {"seed": 1}, {}, {}))
    assert trained.notes == ["the memory has room for 2 of 4 runs at once"]
    first, alone, full, failed = trained.results
    assert first == RESULT
    assert alone == RESULT | {"seed": 1, "rerun": False}
    assert isinstance(full, Stopped)
    assert failed["status"] == "failed"
    assert "no data" in failed["reason"]


def test_a_run_by_itself_needs_no_stack(stack_ends):
    stack_ends([])
    assert train_together(item({"seed": 3})) == Trained([RESULT | {"seed": 3}], [])


def test_a_signal_ends_the_worker(monkeypatch):
    def interrupted(*arguments):
        raise Interrupted(15)

    monkeypatch.setattr(driver, "train_stack", interrupted)
    with pytest.raises(SystemExit) as ended:
        train_together(item({}, {}))
    assert ended.value.code == 143


class Pool:
    """Trains items in this process; the last one dies."""

    def __init__(self, function, environments, *options):
        self.function = function

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def run(self, items):
        for index, each in enumerate(items[:-1]):
            yield index, self.function(each)
        yield len(items) - 1, Died(-9)


@pytest.fixture
def three_runs(compose, tmp_path):
    from stacked.runs import SMALL, plain

    words = (*SMALL, "trainer.max_epochs=1", f"paths.outputs={tmp_path}")
    config = plain(compose(*words))
    other = plain(compose(*words, "norm=layer"))
    return [config, config | {"seed": 1}, other]


def test_a_sweep_trains_stacks_and_names_what_it_is_told(
    three_runs, monkeypatch, capsys
):
    monkeypatch.setattr(stacks, "Workers", Pool)
    found = dict(stacks.run_stacked(three_runs, 1, options=Options(2)))
    assert [found[number]["stacked"] for number in (0, 1)] == [2, 2]
    assert found[2]["status"] == "failed"
    assert "SIGKILL" in found[2]["reason"]
    again = dict(stacks.run_stacked(three_runs[:2], workers=1))
    assert again == {number: found[number] for number in (0, 1)}


def test_an_earlier_result_is_not_that_of_a_worker_that_died(three_runs, monkeypatch):
    first, second, _ = three_runs
    stored = dict(stacks.run_stacked([first, second], 1, options=Options(2)))
    earlier = list(map(stacks._result_time, [first, second]))
    again = item(first | {"rerun": True}, second | {"rerun": True})
    trained = stacks._after_death(again, Died(-9), earlier)
    assert [result["status"] for result in trained.results] == ["failed", "failed"]
    trained = stacks._after_death(again, Died(-9), [earlier[0], None])
    assert trained.results[1] == stored[1]


def test_a_run_that_left_its_stack_goes_on_from_its_checkpoint(stack_ends):
    stack_ends([None, RESULT])
    trained = train_together(item({"rerun": True}, {"seed": 1}))
    assert trained.results[0] == RESULT | {"rerun": False}


def test_notes_are_told_once_for_all_stacks(
    three_runs, stack_ends, monkeypatch, capsys
):
    class Telling(Pool):
        def run(self, items):
            for index, each in enumerate(items):
                count = len(each.configs)
                yield index, Trained([RESULT] * count, ["the gain is small"])

    monkeypatch.setattr(stacks, "Workers", Telling)
    found = dict(stacks.run_stacked(three_runs, workers=1))
    assert len(found) == 3
    told = capsys.readouterr().err.splitlines()
    assert told == ["note: 2 runs with norm=custom: the gain is small"]


def test_stacks_and_reasons_are_listed(capsys):
    jobs = [
        Job((f"seed={seed}", f"norm={norm}"), {}) for seed, norm in enumerate("aabc")
    ]
    print_stacks(jobs, Plan([[0, 1]], {2: "it is odd", 3: "it is odd"}))
    assert capsys.readouterr().out.splitlines() == [
        "stack 1, 2 runs: seed=0 norm=a, seed=1 norm=a",
        "by themselves: seed=2 norm=b, seed=3 norm=c: it is odd",
    ]
