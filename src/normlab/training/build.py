"""From configuration to objects: network, optimizer, scheduler, task. Every `_target_` is checked first."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from normlab.config.targets import build
from normlab.norms.on_weights import is_length
from normlab.streams import stream_seed
from normlab.training.tasks import Classification, Regression, Task


def build_network(
    config: dict, input_shape: tuple[int, ...], num_outputs: int
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network and its norm layers by name, with weights that follow from the seed alone.

    Norm layers start from constants, so two configurations that differ in nothing but `norm` get the same weights.

    Args:
        config: a resolved configuration.
        input_shape: shape of a sample without the batch axis, ``(C, H, W)`` or ``(F,)``.
        num_outputs: classes, or numbers to predict.
    """
    norm = build(config["norm"])
    made = []

    def recorded(num_features: int, dim: int) -> nn.Module:
        made.append(norm(num_features, dim))
        return made[-1]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config["seed"], "initialization"))
        network = build(
            config["model"],
            input_shape=input_shape,
            num_outputs=num_outputs,
            norm=recorded,
        )
    if config["reparametrize"] is not None:
        network = build(config["reparametrize"])(network)
    if config["device"].get("channels_last"):  # runs from before it have no such key
        network.to(
            memory_format=torch.channels_last
        )  # convolutions hand the order of their weights on
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if any(layer is norm for norm in made)
    }
    return network, layers


def parameter_groups(
    network: nn.Module, weight_decay: float, decay_rank_one: bool
) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: weights, which decay, and tensors of rank below 2, which do not.

    Scale, shift and bias do not decay unless `decay_rank_one`; the rule needs no list of norm classes. Nor do the
    lengths of weight norm, which are scales in the shape of their weights.
    """
    parameters = {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    if weight_decay == 0 or decay_rank_one:
        return [{"params": list(parameters.values()), "weight_decay": weight_decay}]
    decays = {
        name: parameter.ndim >= 2 and not is_length(name)
        for name, parameter in parameters.items()
    }
    decaying = [parameter for name, parameter in parameters.items() if decays[name]]
    constant = [parameter for name, parameter in parameters.items() if not decays[name]]
    groups = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": constant, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(config: dict, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a configuration over `parameter_groups`."""
    options = dict(config["optimizer"])
    groups = parameter_groups(
        network, options.pop("weight_decay"), options.pop("decay_rank_one")
    )
    return build(options)(groups)


def scheduler_builder(
    config: dict, steps_per_epoch: int
) -> Callable[[torch.optim.Optimizer], Any] | None:
    """optimizer -> scheduler, or None for a constant rate; those that step every batch learn the epoch's length."""
    options = dict(config["scheduler"])
    if options["_target_"] is None:
        return None
    extra = (
        {"steps_per_epoch": steps_per_epoch}
        if options.pop("interval") == "step"
        else {}
    )
    return partial(build(options), **extra)


def build_task(
    config: dict, network: nn.Module, steps_per_epoch: int, targets: torch.Tensor
) -> Task:
    """Classification or Regression around a network.

    Args:
        config: a resolved configuration.
        network: from `build_network`.
        steps_per_epoch: optimizer steps of an epoch.
        targets: of the training part, for the statistics by which regression standardizes.
    """
    common = {
        "network": network,
        "build_optimizer": partial(build_optimizer, config),
        "build_scheduler": scheduler_builder(config, steps_per_epoch),
        "scheduler_interval": config["scheduler"].get("interval", "epoch"),
        "gradient_clip": config["trainer"]["gradient_clip"],
    }
    loss = config["task"]["loss"]
    if config["dataset"]["task"] == "classification":
        if loss not in (None, "cross_entropy"):
            raise ValueError(
                f"task.loss must be cross_entropy for classification, got {loss!r}"
            )
        return Classification(
            **common, softmax_before_loss=config["task"]["softmax_before_loss"]
        )
    if config["task"]["softmax_before_loss"]:
        raise ValueError(
            "task.softmax_before_loss must be false for regression, which has no softmax, got true"
        )
    mean, std = float(targets.mean()), float(targets.std(correction=0))
    return Regression(
        **common,
        loss_name=loss or "mse",
        target_mean=mean,
        target_std=std if std > 0 else 1.0,
    )
