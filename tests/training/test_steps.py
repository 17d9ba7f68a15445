"""The gradients of a step in one pass or several, worked out by the mean loss."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.data.blocks import Block
from normlab.norms import BatchNorm1d, EvoNormB0, GhostBatchNorm
from normlab.optimizers import SAM
from normlab.training.classification import Classification
from normlab.training.steps import (
    backpropagate,
    backpropagate_nearby,
    unchanged_buffers,
)


def make_task(norm, kind=Classification):
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 5), norm, nn.Tanh(), nn.Linear(5, 3))
    task = kind(network, torch.optim.SGD)
    task._trainer = SimpleNamespace(world_size=1)
    return task.train()


def make_block(num_samples, micro_batch_size, loss_scale=1.0):
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(num_samples, 4, generator=generator)
    targets = torch.randint(3, (num_samples,), generator=generator)
    return Block(inputs, targets, 6, loss_scale, micro_batch_size)


def gradients(task):
    return [value.grad.clone() for value in task.network.parameters()]


def weigh(task, weights):
    task.class_weights = torch.tensor(weights)
    return task


def compute(task, block):
    return backpropagate(
        task,
        block,
        block.inputs,
        block.targets,
        task.network.zero_grad,
        Tensor.backward,
    )


@pytest.mark.parametrize("num_samples", [6, 5])
@pytest.mark.parametrize("loss_scale", [1.0, 0.7])
def test_several_passes_have_the_gradient_of_the_mean_loss(num_samples, loss_scale):
    whole, parts = make_task(nn.Identity()), make_task(nn.Identity())
    expected = compute(whole, make_block(num_samples, None, loss_scale))
    found = compute(parts, make_block(num_samples, 2, loss_scale))
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other)
        assert not value.requires_grad
    for value, other in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(value, other)


def test_every_pass_is_normalized_by_its_own_statistics():
    task, reference = make_task(BatchNorm1d(5)), make_task(nn.BatchNorm1d(5))
    block = make_block(5, 3)
    loss, predictions = compute(task, block)

    outputs = []
    total = torch.zeros(())
    for part in (slice(0, 3), slice(3, 5)):
        output = reference.network(block.inputs[part])
        targets = block.targets[part]
        total = total + functional.cross_entropy(output, targets, reduction="sum")
        outputs.append(output.detach())
    (total / 5).backward()
    torch.testing.assert_close(loss, total.detach() / 5)
    torch.testing.assert_close(predictions, torch.cat(outputs))
    for value, other in zip(gradients(task), gradients(reference), strict=True):
        torch.testing.assert_close(value, other)
    norm, expected = task.network[1], reference.network[1]
    torch.testing.assert_close(norm.running_mean, expected.running_mean)
    assert norm.num_batches_tracked == 2


def test_gradients_are_cleared_once_per_step():
    task, cleared = make_task(nn.Identity()), []
    block = make_block(6, 2)
    backpropagate(
        *(task, block, block.inputs, block.targets),
        lambda: cleared.append(1),
        Tensor.backward,
    )
    assert cleared == [1]


@pytest.mark.parametrize(("world_size", "exchanges"), [(1, 3), (2, 1)])
def test_processes_exchange_gradients_once_per_step(world_size, exchanges):
    task, seen = make_task(nn.Identity()), []
    task._trainer = SimpleNamespace(world_size=world_size)
    block = make_block(6, 2)

    def backward(loss):
        seen.append(loss)
        loss.backward()

    backpropagate(
        *(task, block, block.inputs, block.targets), task.network.zero_grad, backward
    )
    assert len(seen) == exchanges
    reference = make_task(nn.Identity())
    compute(reference, make_block(6, None))
    for value, other in zip(gradients(task), gradients(reference), strict=True):
        torch.testing.assert_close(value, other)


class CountingNorm(nn.Module):
    """A norm of a user, whose buffers have names of their own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(5))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x):
        if self.training:
            self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
            self.batches += 1
        return x - x.mean(0)


NORMS = [BatchNorm1d, nn.BatchNorm1d, lambda size: EvoNormB0(size, 1)]
NORMS += [lambda size: GhostBatchNorm(size, 1, size=3), lambda size: CountingNorm()]


@pytest.mark.parametrize("make_norm", NORMS)
@pytest.mark.parametrize("micro_batch_size", [None, 3])
def test_statistics_see_the_first_of_two_passes_alone(make_norm, micro_batch_size):
    task, reference = make_task(make_norm(5)), make_task(make_norm(5))
    block = make_block(6, micro_batch_size)
    optimizer = SAM(
        [{"params": list(task.network.parameters())}], torch.optim.SGD, rho=0.3
    )
    compute(task, block)
    compute(reference, block)
    length = torch.cat([value.flatten() for value in gradients(reference)]).norm()
    backpropagate_nearby(
        *(task, block, block.inputs, block.targets, optimizer), Tensor.backward
    )
    for name, value in task.network.named_buffers():
        assert torch.equal(value, reference.network.get_buffer(name))

    with torch.no_grad():
        for value in reference.network.parameters():
            value += 0.3 * value.grad / length
    compute(reference, block._replace())
    for value, other in zip(gradients(task), gradients(reference), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-6)


def test_buffers_are_put_back_whatever_happens():
    network = nn.Sequential(BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    inputs = torch.tensor([[1.0, 5.0], [3.0, 6.0]])
    before = {name: value.clone() for name, value in network.named_buffers()}
    with unchanged_buffers(network):
        network(inputs)
        assert network[0].running_mean.tolist() == pytest.approx([0.2, 0.55])
    with pytest.raises(ValueError, match="expected"), unchanged_buffers(network):
        network(network(inputs)[:1])
    assert len(before) == 6
    for name, value in network.named_buffers():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_several_passes_have_the_gradient_of_the_weighted_mean(micro_batch_size):
    weights = [0.2, 3.0, 0.0]  # by itself, a sample of the last class has no mean
    whole = weigh(make_task(nn.Identity()), weights)
    parts = weigh(make_task(nn.Identity()), weights)
    loss, _ = compute(whole, make_block(6, None))
    block = make_block(6, micro_batch_size)
    assert block.targets.unique().tolist() == [0, 1, 2]
    found, _ = compute(parts, block)
    torch.testing.assert_close(found, loss)
    for value, other in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(value, other)
    logs = whole.network(block.inputs).log_softmax(1)
    its_weights = torch.tensor(weights)[block.targets]
    its_logs = logs[torch.arange(6), block.targets]
    expected = -(its_weights * its_logs).sum() / its_weights.sum()
    torch.testing.assert_close(loss, expected.detach())


def test_processes_weigh_their_parts_of_a_step(monkeypatch):
    """The mean of the gradients of two processes is that of their samples together."""
    weights = [0.2, 3.0, 0.5]
    block = make_block(6, None)
    total = torch.tensor(weights)[block.targets].sum()
    monkeypatch.setattr(
        "normlab.training.steps.sum_over_processes", lambda weight: total
    )
    summed = [0.0] * 4
    for part in (slice(0, 4), slice(4, 6)):
        task = weigh(make_task(nn.Identity()), weights)
        task._trainer = SimpleNamespace(world_size=2)
        inputs, targets = block.inputs[part], block.targets[part]
        clear = task.network.zero_grad
        backpropagate(task, block, inputs, targets, clear, Tensor.backward)
        summed = [
            value + gradient / 2
            for value, gradient in zip(summed, gradients(task), strict=True)
        ]
    whole = weigh(make_task(nn.Identity()), weights)
    compute(whole, block)
    for value, other in zip(summed, gradients(whole), strict=True):
        torch.testing.assert_close(value, other)


class Focal(Classification):
    """A mean over samples, whose weights of classes are factors of their losses."""

    def loss(self, predictions, targets):
        losses = functional.cross_entropy(predictions, targets, reduction="none")
        return (self.class_weights[targets] * losses).mean()


class FocalOfLearned(Classification):
    """The same by the other method."""

    def loss_of(self, predictions, learned):
        return Focal.loss(self, predictions, learned)


@pytest.mark.parametrize("kind", [Focal, FocalOfLearned])
def test_a_loss_of_ones_own_is_a_mean_over_samples(kind):
    weights = [0.2, 3.0, 0.5]
    whole = weigh(make_task(nn.Identity(), kind), weights)
    parts = weigh(make_task(nn.Identity(), kind), weights)
    loss, _ = compute(whole, make_block(6, None))
    found, _ = compute(parts, make_block(6, 2))
    torch.testing.assert_close(found, loss)
    for value, other in zip(gradients(parts), gradients(whole), strict=True):
        torch.testing.assert_close(value, other)


class Merged(Classification):
    """Learns the last class as the one before it."""

    def learned(self, targets):
        return targets.clamp(max=1)


def test_weights_are_those_of_what_is_learned():
    task = weigh(make_task(nn.Identity(), Merged), [1.0, 3.0, 100.0])
    assert task.weight_of(torch.tensor([0, 1, 2])).item() == 7.0
    loss, _ = compute(task, make_block(6, None))
    parts = weigh(make_task(nn.Identity(), Merged), [1.0, 3.0, 100.0])
    found, _ = compute(parts, make_block(6, 2))
    torch.testing.assert_close(found, loss)


def test_samples_of_classes_without_weight_have_no_loss():
    task = weigh(make_task(nn.Identity()), [1.0, 0.0, 0.0])
    block = make_block(6, None)
    block = block._replace(targets=torch.ones(6, dtype=torch.int64))
    loss, _ = compute(task, block)
    assert loss == 0
    assert all(not value.any() for value in gradients(task))
