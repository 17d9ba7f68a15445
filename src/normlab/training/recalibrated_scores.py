"""A second score of validation after every epoch, by recalibrated statistics.

Running statistics lag behind the weights. Scores with statistics that are computed
again, for the weights as they are, show how much of a validation loss comes from that.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import torch
from torch import nn

from normlab.config.claim_metrics import RECALIBRATED
from normlab.data.blocks import Block, Part
from normlab.device.devices import scoring_device
from normlab.device.sharding import broadcast_buffers
from normlab.training.evaluation import evaluate
from normlab.training.recalibration import (
    average_statistics,
    layers_in_training,
    training_batches,
)
from normlab.training.steps import preserved_state
from normlab.training.tasks import Task


def recalibrated_scores(
    task: Task,
    validation: Iterable[Block],
    batches: Callable[[], Iterable[Block]],
    context: Callable = nullcontext,
) -> dict[str, float]:
    """Score validation by running statistics that are computed again.

    The run goes on as if this had not been called: running statistics, gradients,
    random numbers and the mode of the network are put back. Frozen parts of a network
    keep their statistics, which do not move in training either.

    Args:
        task: the network and its metrics.
        validation: the samples of the validation part, each of them once.
        batches: returns blocks of one training batch each, from which statistics are
            computed, see `normlab.training.recalibration.recalibrate`.
        context: a context manager around every forward pass, see `evaluate`.

    Returns:
        The metrics by name, such as `val_recalibrated/loss`.
    """
    network = task.network
    # To compile the network for other modes and hooks would take longer than to call
    # it.
    eager = torch.compiler.set_stance("force_eager")
    with preserved_state(network), eager:
        layers = layers_in_training(network)
        average_statistics(network, batches(), context, layers)
        if task.trainer.world_size > 1:
            broadcast_buffers(network)
        scores = evaluate(task, validation, context)
    return {f"{RECALIBRATED}/{name}": value for name, value in scores.items()}


def check_recalibration(
    config: dict, network: nn.Module, train: Part, averages: bool
) -> None:
    """Refuse recalibrated scores of a network whose scores they could not differ from.

    Args:
        config: a resolved configuration.
        network: left as it was.
        train: the training part, of which one batch goes through the network.
        averages: whether an average of the weights is scored in place of the weights.

    Raises:
        ValueError: no running statistics move in training, or those of an average,
            which are recalibrated before every score, would be the same.
    """
    num_batches = config["trainer"].get("recalibration_batches")
    if num_batches is None:
        return
    if averages:
        raise ValueError(
            "trainer.recalibration_batches must be null for a run that scores an "
            "average of its weights, whose statistics trainer.average_batches "
            f"recalibrates before every score; got {num_batches}"
        )
    device = scoring_device(config["device"]["accelerator"])
    with preserved_state(network.to(device)):
        batches = training_batches(config, train.to(device), 1)
        layers = layers_in_training(network)
        found = average_statistics(network, batches, nullcontext, layers)
    network.cpu()
    if not found:
        raise ValueError(
            "trainer.recalibration_batches must be null for a network in which no norm "
            f"moves running statistics in training; got {num_batches}"
        )
