from typing import ClassVar

import pytest

from hydra_plugins.normlab_stacked_launcher import StackedLauncher
from normlab.stacked.grouping import Options
from normlab.sweeps import queue, stacks, workers
from normlab.sweeps.libraries import SCIKIT_LEARN

CONFIG = {
    "device": {"devices": 1, "accelerator": "cpu"},
    "dataset": {"load": {"_target_": "normlab.data.images.digits"}},
}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"members": 1}, "hydra.launcher.members must be auto or a whole number"),
        ({"exact": "maybe"}, "hydra.launcher.exact must be true or false"),
        ({"compile": "yes"}, "hydra.launcher.compile must be true or false"),
        ({"workers": 0}, "hydra.launcher.workers must be auto or a whole number"),
    ],
)
def test_options_that_no_stack_can_have_are_refused(options, part):
    launcher = StackedLauncher(**options)
    with pytest.raises(ValueError, match=part):
        launcher.setup(hydra_context=None, task_function=None, config=None)


def test_workers_are_counted_as_for_the_queue(monkeypatch):
    monkeypatch.setattr(queue, "count_cores", lambda: 3)
    assert StackedLauncher().count_workers([CONFIG] * 10) == 3


def test_results_come_from_the_stacks_with_the_options(monkeypatch):
    def run_stacked(configs, *options):
        yield 0, {"options": options, "configs": configs}

    monkeypatch.setattr(stacks, "run_stacked", run_stacked)
    launcher = StackedLauncher("auto", 4, 2, 7, exact=False, compile=True)
    assert list(launcher.stream_results([CONFIG])) == [
        (0, {"options": (4, 2, 7, Options("auto", False, True)), "configs": [CONFIG]})
    ]


def test_warming_up_starts_to_import_what_a_worker_needs(monkeypatch):
    started = []
    monkeypatch.setattr(workers, "start_server", started.append)
    StackedLauncher().warm_up(CONFIG)
    assert started == [(*stacks.PRELOAD, *SCIKIT_LEARN)]


class Done:
    """A job whose result is stored."""

    stored_result: ClassVar = {"status": "finished"}


def test_nothing_is_planned_if_all_results_are_stored(capsys):
    StackedLauncher().print_states([Done()])
    assert capsys.readouterr().out == ""
