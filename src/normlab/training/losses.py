"""Losses that a configuration names by `_target_`, and weights of classes."""

from typing import Any

import torch
from torch import Tensor, nn

from normlab.config.targets import build
from normlab.data.mixing import is_mixed


def is_named(loss: Any) -> bool:
    """Whether `task.loss` names a class by `_target_`, and not a loss of ours."""
    return isinstance(loss, dict)


def build_criterion(
    options: dict[str, Any], is_classification: bool, num_outputs: int
) -> nn.Module | None:
    """Build the loss that `task.loss` names by `_target_`, and try it on two samples.

    The loss is None if the configuration names one of ours.

    Args:
        options: the `task` group of a resolved configuration.
        is_classification: whether classes are predicted, not numbers.
        num_outputs: number of classes.

    Raises:
        ValueError: it cannot be built, has parameters, or does not make one number of
            predictions and targets.
    """
    named = options["loss"]
    if not is_named(named):
        return None
    loss = _build(named)
    if is_classification and is_mixed(options):
        _check(loss, torch.zeros(2, num_outputs), torch.eye(2, num_outputs))
    if is_classification:  # so are the samples of the other parts
        _check(loss, torch.zeros(2, num_outputs), torch.tensor([0, 1]))
    else:
        _check(loss, torch.zeros(2), torch.tensor([0.0, 1.0]))
    return loss


def _build(options: dict[str, Any]) -> nn.Module:
    if options.get("_target_") is None:
        raise ValueError(
            f"task.loss must be a name or have a _target_, got {options!r}"
        )
    try:
        loss: nn.Module = build(options)
    except Exception as error:  # whatever a constructor raises
        raise ValueError(
            f"task.loss: {options['_target_']} does not take these arguments: "
            f"{_reason(error)}"
        ) from error
    parameters = [name for name, _ in loss.named_parameters()]
    if parameters:
        raise ValueError(
            f"task.loss must have no parameters, since the optimizer trains those of "
            f"the network: {options['_target_']} has {', '.join(parameters)}"
        )
    return loss


def class_weights(
    wanted: str | list[float] | None, targets: Tensor, num_classes: int
) -> Tensor | None:
    """The weight of every class in the loss ``(K,)``; None if all weigh the same.

    `balanced` gives class k the weight ``N / (K N_k)``, where N_k of N samples belong
    to it, so that all classes weigh the same as a whole (King and Zeng, 2001). A class
    without samples weighs what a class with one sample does.

    Args:
        wanted: `task.class_weights` of a resolved configuration.
        targets: ``(N,)``, the classes of the training part.
        num_classes: K.

    Raises:
        ValueError: the list is not one of K numbers of at least 0, one above 0.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = torch.bincount(targets, minlength=num_classes).clamp(min=1)
        return (len(targets) / (num_classes * counts)).float()
    weights = torch.tensor(wanted, dtype=torch.float32)
    are_weights = weights.isfinite().all() and (weights >= 0).all() and weights.any()
    if len(weights) != num_classes or not are_weights:
        raise ValueError(
            f"task.class_weights must be balanced or {num_classes} numbers of at least "
            f"0, one per class, got {wanted}"
        )
    return weights


def _check(loss: nn.Module, predictions: Tensor, targets: Tensor) -> None:
    """Refuse a loss that does not make one number of predictions and targets."""
    try:
        loss(predictions.requires_grad_(), targets).backward()
    except Exception as error:  # whatever a loss raises
        raise ValueError(
            f"task.loss: {type(loss).__name__} must take predictions of shape "
            f"{tuple(predictions.shape)} and targets of shape {tuple(targets.shape)} "
            f"and type {targets.dtype}, and return one number: {_reason(error)}"
        ) from error


def _reason(error: BaseException) -> str:
    """What was wrong at first, in one line: Hydra wraps it in sentences of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
