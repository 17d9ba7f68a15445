"""A norm holds nothing but its parameters and buffers, however many batches it sees."""

import gc
import tracemalloc
import weakref

import pytest
import torch

from normlab.norms import BatchNorm1d, BatchNorm2d, BatchRenorm, GhostBatchNorm

STEPS = 1000


def train(layer, steps):
    """Take steps on new inputs, and count the inputs that some graph keeps alive."""
    inputs = []
    for _ in range(steps):
        layer.zero_grad()
        x = torch.randn(4, 3, requires_grad=True)
        layer(x).square().mean().backward()
        inputs.append(weakref.ref(x))
    del x
    gc.collect()
    return sum(reference() is not None for reference in inputs)


def live_tensors():
    gc.collect()
    return sum(issubclass(type(value), torch.Tensor) for value in gc.get_objects())


@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
def test_1000_steps_leave_as_many_tensors_and_bytes_as_200(options):
    layer = BatchNorm1d(3, **options)
    assert train(layer, 200) == 0
    tensors, memory = live_tensors(), []
    tracemalloc.start()
    try:
        for _ in range(STEPS // 200):
            assert train(layer, 200) == 0
            memory.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert live_tensors() == tensors
    assert memory[-1] - memory[0] < 16 * (
        STEPS - 200
    )  # less a step than the smallest object takes


def test_a_graph_that_grows_in_a_buffer_is_found():
    """As in layers that assign a new running mean with the graph of every batch."""

    class Growing(BatchNorm1d):
        def forward(self, x):
            self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(0)
            return x * self.weight

    assert train(Growing(3), 10) == 10


@pytest.mark.parametrize(
    "make",
    [lambda: GhostBatchNorm(3, 1, size=2), lambda: BatchRenorm(3, 1, warmup_steps=5)],
)
def test_variants_keep_no_tensors(make):
    layer = make()
    train(layer, 10)
    tensors = live_tensors()
    assert train(layer, 100) == 0
    assert live_tensors() == tensors


@pytest.mark.parametrize("training", [True, False])
def test_a_dropped_output_frees_its_input(training):
    """Nothing keeps the graph of a batch whose gradient was never computed."""
    layer = BatchNorm2d(3).train(training)
    x = torch.randn(4, 3, 2, 2, requires_grad=True)
    references = [weakref.ref(x), weakref.ref(layer(x))]
    del x
    gc.collect()
    assert [reference() for reference in references] == [None, None]
