"""Numbers of a stored run that need its untrained network only."""

from collections.abc import Callable, Sequence
from pathlib import Path

from normlab.device.devices import evaluation_context, scoring_device
from normlab.evaluation.evaluate import prepare_stored
from normlab.evaluation.gradients_by_depth import (
    growth_per_layer,
    squared_gradients_by_depth,
)
from normlab.evaluation.weight_layers import weight_layers
from normlab.training.recalibration import training_batches


def gradient_growth(
    folder: Path, num_batches: int, trusted: Sequence[str] = ()
) -> float:
    """By which factor squared gradients grow per layer, towards the inputs.

    The gradients are those of the outputs of weight layers before training, without the
    output layer; see `growth_per_layer`.

    Args:
        folder: the run folder.
        num_batches: number of training batches over which squares are averaged.
        trusted: packages of the user's own that the run may call.

    Returns:
        The factor; NaN for fewer than three layers with weights.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages.
    """
    config, prepared = prepare_stored(folder, trusted)
    device = scoring_device(prepared.device.accelerator)
    network = prepared.task.network.to(device).train()
    part = prepared.parts.train.to(device)
    batches = list(training_batches(config, part, num_batches))
    layers = weight_layers(network, batches[0].inputs)
    squares = squared_gradients_by_depth(
        network,
        prepared.task.loss,
        batches,
        layers,
        evaluation_context(prepared.device.precision, device),
    )
    return growth_per_layer(squares[:-1])


# By the name that `normlab.config.claim_metrics` has for them.
PROBES: dict[str, Callable[[Path, int, Sequence[str]], float]] = {
    "gradient_growth": gradient_growth,
}
