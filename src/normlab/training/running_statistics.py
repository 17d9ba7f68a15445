"""A note for runs whose running statistics have not seen enough batches yet."""

from collections.abc import Mapping

from torch import Tensor, nn

from normlab.training.recalibration import has_averages

# The note is for running statistics of which a larger share is initial values, if the
# validation loss is so many times the training loss.
LARGEST_SHARE = 0.01
LEAST_RATIO = 2.0


def statistics_note(network: nn.Module, metrics: Mapping[str, float]) -> str | None:
    """Say that validation uses running statistics that are not settled yet.

    Args:
        network: the network after an epoch, in training mode.
        metrics: of this epoch, with `train/loss` and `val/loss`.

    Returns:
        one sentence, or None if the losses are alike, or for another reason apart.
    """
    train_loss = metrics["train/loss"]
    validation_loss = metrics["val/loss"]
    if not validation_loss > LEAST_RATIO * train_loss:
        return None
    young = {}
    for layer in network.modules():
        share = initial_share(layer)
        if share > LARGEST_SHARE:
            young[layer] = share
    if not young:
        return None
    layer = max(young, key=lambda layer: young[layer])
    norms = "a norm" if len(young) == 1 else f"{len(young)} norms"
    num_batches = _num_batches(layer)
    batches = "1 batch" if num_batches == 1 else f"{num_batches} batches"
    return (
        f"note: val/loss {validation_loss:.4g} is far above train/loss "
        f"{train_loss:.4g}: validation normalizes by running statistics, which in "
        f"{norms} are {young[layer]:.0%} initial values after {batches} at momentum "
        f"{layer.momentum:g}; this share falls with every step"
    )


def initial_share(layer: nn.Module) -> float:
    """The share of initial values in the running statistics of a norm.

    After n batches with momentum m it is ``(1 - m)^n``. It is 0 for other layers, for
    norms that evaluate as they train, for those that are not trained, and for averages
    over all batches, which begin with the first batch.
    """
    momentum = getattr(layer, "momentum", None)
    if momentum is None or not has_averages(layer) or not layer.training:
        return 0.0
    num_batches = _num_batches(layer)
    return (1 - momentum) ** num_batches if num_batches else 0.0


def _num_batches(layer: nn.Module) -> int:
    counter = getattr(layer, "num_batches_tracked", None)
    return int(counter.min()) if isinstance(counter, Tensor) else 0
