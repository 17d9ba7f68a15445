"""What runs must have in common to train as one network, as they ask for a step."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from normlab.norms.state import (
    ATTRIBUTE,
    OWN_OF_MODULES,
    changed_paths,
    snapshot,
    state_of,
)
from normlab.stacked.network import Tensors, structure
from normlab.stacked.optimizers import why_not
from normlab.stacked.stack import Batch, batches
from normlab.training.classification import Classification
from normlab.training.tasks import Task
from normlab.training.together import Request

# Of a number in an ordinary attribute, of which a stack has that of one run.
OUTSIDE = "and is neither a parameter nor a buffer"


class NotStackable(Exception):
    """Runs that cannot be trained as one network; the text says why."""


def check_alike(requests: Sequence[Request]) -> None:
    """Refuse runs whose networks, data, optimizers or losses are not of one kind.

    Args:
        requests: of the runs.

    Raises:
        NotStackable: says why.
    """
    first = requests[0].task
    device = first.device.type
    if device not in ("cpu", "cuda"):
        raise NotStackable(f"stacks need a CPU or a CUDA device, got {device}")
    _check_parameters(first.network)
    sample = sample_of(requests[0])
    wanted = structure(first.network)
    attributes = attributes_of(first.network)
    optimizers = []
    for request in requests:
        task = request.task
        if sample_of(request) != sample:
            raise NotStackable("the samples or the batches of the runs differ in shape")
        if structure(task.network) != wanted:
            raise NotStackable("the networks differ in the shapes of their parameters")
        found = attributes_of(task.network)
        check_same(found, attributes, f"differs in the runs {OUTSIDE}")
        _check_task(task, first)
        if request.block.micro_batch_size is not None:
            raise NotStackable("trainer.accumulate has no stacked form")
        optimizers.append(task.trainer.optimizers[0])
    reason = why_not(optimizers)
    if reason is not None:
        raise NotStackable(reason)


def _check_parameters(network: nn.Module) -> None:
    """Refuse parameters that cannot lie in one row."""
    types = set()
    for parameter in network.parameters():
        if parameter.requires_grad:
            types.add(parameter.dtype)
    if len(types) > 1:
        raise NotStackable("the parameters of the network have several types")


def attributes_of(network: nn.Module) -> Tensors:
    """Numbers and flags that are neither parameters nor buffers, by path."""
    tensors = set(map(id, chain(network.parameters(), network.buffers())))
    found = {}
    for path, entry in state_of(network).items():
        if entry.place == ATTRIBUTE and id(entry.value) not in tensors:
            found[path] = entry.tensor()
    for name, module in network.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, bool) and key not in OWN_OF_MODULES:
                path = f"{name}.{key}" if name else key
                found[path] = torch.tensor(value)
    return found


def check_same(
    found: Tensors,
    wanted: Tensors,
    otherwise: str,
) -> None:
    """Refuse numbers of which a stack would have those of one run for all.

    Args:
        found, wanted: by path.
        otherwise: what is wrong with a path at which they are not the same.
    """
    for path in changed_paths(wanted, found):
        raise NotStackable(f"{path} {otherwise}")


def criterion_of(task: Task) -> nn.Module | None:
    """The loss that the user gave a task, if it is a module, which may keep numbers."""
    criterion = getattr(task, "criterion", None)
    return criterion if isinstance(criterion, nn.Module) else None


def _check_task(task: Task, first: Task) -> None:
    """Refuse what the steps of a stack would leave out, and losses that differ."""
    if task.averaging is not None:
        raise NotStackable("an average of the weights has no stacked form")
    if task.adaptive_clip is not None:
        raise NotStackable("trainer.adaptive_clip has no stacked form")
    if isinstance(task, Classification) and not _weigh_alike(task, first):
        raise NotStackable("task.class_weights weights classes differently in the runs")
    criterion = criterion_of(task)
    wanted = criterion_of(first)
    if criterion is not None and wanted is not None:
        otherwise = "of task.loss differs in the runs"
        check_same(snapshot(criterion), snapshot(wanted), otherwise)


def sample_of(request: Request) -> tuple[object, ...]:
    """What the blocks of a stack must have in common."""
    block = request.block
    inputs = block.inputs
    shapes = (inputs.shape[1:], block.targets.shape[1:])
    return (shapes, inputs.dtype, block.batch_size)


def _weigh_alike(task: Classification, first: Task) -> bool:
    weights = task.class_weights
    others = first.class_weights
    if not isinstance(weights, Tensor) or not isinstance(others, Tensor):
        return weights is others
    return torch.equal(weights, others)


def first_batch(requests: Sequence[Request]) -> tuple[Batch, Tensor]:
    """The first batch of the runs, and the numbers ``(k,)`` of those that have it.

    Raises:
        NotStackable: no two runs have a batch of one size.
    """
    batch = next(iter(batches(requests)))
    if len(batch.inputs) < 2:
        raise NotStackable("the batches of the runs differ in size")
    chosen = batch.chosen
    if chosen is None:
        chosen = torch.arange(len(requests), device=batch.inputs.device)
    return batch, chosen
