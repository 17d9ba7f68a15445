import pytest

from hydra_plugins.normlab_queue_launcher import QueueLauncher
from normlab.sweeps import queue, workers
from normlab.sweeps.libraries import SCIKIT_LEARN

CONFIG = {
    "device": {"devices": 1, "accelerator": "cpu"},
    "dataset": {"load": {"_target_": "normlab.data.images.digits"}},
}


def test_options_that_no_queue_can_have_are_refused():
    launcher = QueueLauncher(workers=0)
    with pytest.raises(ValueError) as error:
        launcher.setup(hydra_context=None, task_function=None, config=None)
    assert str(error.value) == (
        "hydra.launcher.workers must be auto or a whole number of at least 1, got 0"
    )


@pytest.mark.parametrize(
    ("option", "jobs", "count"), [("auto", 10, 3), ("auto", 2, 2), (5, 10, 5)]
)
def test_workers_are_counted_as_the_queue_starts_them(monkeypatch, option, jobs, count):
    monkeypatch.setattr(queue, "count_cores", lambda: 3)
    assert QueueLauncher(workers=option).count_workers([CONFIG] * jobs) == count


def test_results_come_from_the_queue_with_the_options(monkeypatch):
    def run_queued(configs, *options):
        yield 0, {"options": options, "configs": configs}

    monkeypatch.setattr(queue, "run_queued", run_queued)
    launcher = QueueLauncher(workers=4, jobs_per_gpu=2, jobs_per_worker=7)
    assert list(launcher.stream_results([CONFIG])) == [
        (0, {"options": (4, 2, 7), "configs": [CONFIG]})
    ]


def test_warming_up_starts_to_import_what_a_worker_needs(monkeypatch):
    started = []
    monkeypatch.setattr(workers, "start_server", started.append)
    QueueLauncher().warm_up(CONFIG)
    assert started == [(*queue.PRELOAD, *SCIKIT_LEARN)]
