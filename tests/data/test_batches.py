import pytest

from normlab.data.batches import num_batches, smallest_batch, steps_per_epoch


@pytest.mark.parametrize(
    ("samples", "batch", "batches"),
    [(10, 4, 3), (9, 4, 2), (8, 4, 2), (3, 4, 1), (1, 4, 0), (3, 1, 3)],
)
def test_a_last_batch_of_one_is_left_out(samples, batch, batches):
    assert num_batches(samples, batch) == batches


@pytest.mark.parametrize(
    ("samples", "accumulate", "processes", "steps"),
    [
        (12, 1, 1, 3),
        (12, 2, 1, 2),  # the last step has one batch
        (11, 1, 2, 2),  # 3 samples are too few for two processes
        (11, 1, 1, 3),
    ],
)
def test_steps_are_batches_by_their_accumulation(samples, accumulate, processes, steps):
    assert steps_per_epoch(samples, 4, accumulate, processes) == steps
    assert smallest_batch(processes) == 2 * processes
