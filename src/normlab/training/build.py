"""Build the objects that a configuration names: network, optimizer, scheduler, task.

All of them are called through Hydra's `_target_`; `normlab.config.targets.check_homes`
has checked these names before.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hydra.utils import get_class
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from normlab.config.schema import defaults
from normlab.config.targets import build, build_once, builder
from normlab.data.target_transforms import TARGET_TRANSFORMS
from normlab.norms.parameters import mark_norm, marked_norms, norm_parameters
from normlab.streams import seed_generators, stream_seed
from normlab.training.averaging import switches
from normlab.training.classification import Classification
from normlab.training.losses import build_criterion, class_weights, is_named
from normlab.training.regression import Regression
from normlab.training.tasks import Task
from normlab.training.warmup import Warmup, warmup_steps

# Options of a task that only a loss of ours has, and those that only classes have, with
# the values at which they do nothing.
OF_CROSS_ENTROPY = {"label_smoothing": 0.0, "class_weights": None}
OF_CLASSES = OF_CROSS_ENTROPY | {"mixup": None, "cutmix": None}
OF_OURS = OF_CLASSES | {"loss": None, "softmax_before_loss": False}


def build_network(
    config: dict,
    input_shape: tuple[int, ...],
    num_outputs: int,
    channels_last: bool = False,
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Build the network, with weights that depend on nothing but the seed.

    Norm layers start from constants, so that two configurations that differ only in
    `norm` start from the same weights.

    Args:
        config: a resolved configuration; `model`, `norm`, `reparametrize` and `seed`
            are read.
        input_shape: shape of a sample without the batch axis, ``(C, H, W)`` or
            ``(F,)``.
        num_outputs: number of classes, or of values to predict.
        channels_last: store the weights of convolutions in this memory format;
            convolutions pass it on to their outputs.

    Returns:
        the network, and its norm layers by name.
    """
    build_norm = build_once(config["norm"])
    build_model = builder(config["model"])

    def norm(num_features: int, dim: int) -> nn.Module:
        return mark_norm(build_norm(num_features, dim))

    with torch.random.fork_rng(devices=[]):
        seed_generators(stream_seed(config["seed"], "initialization"))
        network = build_model(
            input_shape=input_shape, num_outputs=num_outputs, norm=norm
        )
        if config["reparametrize"] is not None:
            network = build(config["reparametrize"])(network)
    if channels_last:
        network.to(memory_format=torch.channels_last)

    return network, marked_norms(network)


def without_pretrained(config: dict) -> dict:
    """The configuration without pretrained weights, which are not needed for shapes.

    Args:
        config: a resolved configuration.
    """
    if "pretrained" not in config["model"]:
        return config
    return config | {"model": config["model"] | {"pretrained": False}}


def parameter_groups(
    network: nn.Module, weight_decay: float, decay_rank_one: bool
) -> list[dict[str, Any]]:
    """Divide the trainable parameters into those that decay and those that do not.

    Unless `decay_rank_one`, tensors of rank below 2, such as biases, do not decay, and
    neither do the parameters of norms. These are scales and shifts of any shape, such
    as ``(1, C, 1, 1)``, and the lengths of weight norm.

    Args:
        network: any module, of which `normlab.norms.parameters` knows the norms.
        weight_decay: the optimizer's weight decay.
        decay_rank_one: whether all parameters decay.
    """
    trained = [value for value in network.parameters() if value.requires_grad]
    if weight_decay == 0 or decay_rank_one:
        return [{"params": trained, "weight_decay": weight_decay}]

    of_norms = norm_parameters(network)
    decaying: list[nn.Parameter] = []
    constant: list[nn.Parameter] = []
    for value in trained:
        decays = value.ndim >= 2 and value not in of_norms
        (decaying if decays else constant).append(value)
    groups = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": constant, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(options: dict, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer over the `parameter_groups` of a network.

    A class that treats layers differently has a method `divide`, from these groups and
    the network to its own groups.

    Args:
        options: the `optimizer` group of a resolved configuration.
        network: the network that it trains.

    Raises:
        ValueError: the optimizer has no weight decay, and the options ask for it.
    """
    options = dict(options)
    weight_decay = options.pop("weight_decay")
    decay_rank_one = options.pop("decay_rank_one")
    groups = parameter_groups(network, weight_decay, decay_rank_one)
    build_one: Any = build_once(options)
    divide = getattr(build_one.func, "divide", None)
    if divide is not None:
        groups = divide(groups, network)
    optimizer: Any = build_one(groups)
    if weight_decay and "weight_decay" not in optimizer.defaults:
        raise ValueError(
            f"optimizer.weight_decay must be 0 for {options['_target_']}, which has no "
            f"weight decay, got {weight_decay}"
        )
    if switches(optimizer):
        optimizer.train()  # gradients are computed at these weights
    built: torch.optim.Optimizer = optimizer
    return built


def scheduler_builder(
    options: dict, steps_per_epoch: int
) -> Callable[[torch.optim.Optimizer], Any] | None:
    """A function from an optimizer to its scheduler; None for a constant rate.

    Args:
        options: the `scheduler` group of a resolved configuration.
        steps_per_epoch: number of optimizer steps in an epoch, for a warm-up and for
            schedulers that ask for it.

    Raises:
        ValueError: the interval does not suit the scheduler, or the warm-up is given
            twice.
    """
    options = dict(options)
    steps = options.pop("warmup_steps", 0)
    epochs = options.pop("warmup_epochs", 0)
    num_steps = warmup_steps(steps, epochs, steps_per_epoch)
    interval = options.pop("interval")
    build_one: Any = None
    if options["_target_"] is not None:
        build_one = build_once(options)
        _check_interval(interval, build_one.func)
        if "steps_per_epoch" in inspect.signature(build_one.func).parameters:
            build_one = partial(build_one, steps_per_epoch=steps_per_epoch)
    if num_steps == 0:
        return build_one

    def with_warmup(optimizer: torch.optim.Optimizer) -> Warmup:
        scheduler = None if build_one is None else build_one(optimizer)
        return Warmup(optimizer, scheduler, num_steps)

    return with_warmup


def _check_interval(interval: str, scheduler: Any) -> None:
    """Refuse schedulers that would not get what their step takes."""
    is_class = isinstance(scheduler, type)
    waits = is_class and issubclass(scheduler, ReduceLROnPlateau)
    is_known = waits or scheduler.__module__ == ReduceLROnPlateau.__module__
    if is_known and (interval == "plateau") != waits:
        wanted = "plateau" if waits else "epoch or step"
        raise ValueError(
            f"scheduler.interval must be {wanted} for {scheduler.__name__}, "
            f"got {interval!r}"
        )


def build_task(
    config: dict,
    network: nn.Module,
    steps_per_epoch: int,
    targets: torch.Tensor,
    num_outputs: int = 1,
) -> Task:
    """Build the LightningModule around a network.

    Args:
        config: a resolved configuration; `dataset.task`, `task`, `optimizer`,
            `scheduler`, `trainer.gradient_clip` and `trainer.adaptive_clip` are read.
        network: the network to train, from `build_network`.
        steps_per_epoch: number of optimizer steps in an epoch.
        targets: the targets of the training part; regression is standardized by their
            mean and standard deviation.
        num_outputs: number of classes, or 1 for a number to predict.

    Raises:
        ValueError: `task` has options that this kind of task does not have, or a
            class that is no task for the data.
    """
    task = _task(config, network, steps_per_epoch, targets, num_outputs)
    task.adaptive_clip = config["trainer"].get("adaptive_clip")
    return task


def _task(
    config: dict,
    network: nn.Module,
    steps_per_epoch: int,
    targets: torch.Tensor,
    num_outputs: int,
) -> Task:
    """`build_task` as far as the constructors of tasks go."""
    is_classification = config["dataset"]["task"] == "classification"
    check_task_options(config["task"], is_classification)
    common = {
        "network": network,
        "build_optimizer": partial(build_optimizer, config["optimizer"]),
        "build_scheduler": scheduler_builder(config["scheduler"], steps_per_epoch),
        "scheduler_interval": config["scheduler"].get("interval", "epoch"),
        "gradient_clip": config["trainer"]["gradient_clip"],
    }
    options = config["task"]
    kind = task_class(options, is_classification)
    build_one = _builder_of_task(options, kind)
    criterion = build_criterion(options, is_classification, num_outputs)
    if issubclass(kind, Classification):
        wanted = options.get("class_weights")
        return build_one(
            **common,
            softmax_before_loss=options["softmax_before_loss"],
            label_smoothing=options.get("label_smoothing", 0.0),
            class_weights=class_weights(wanted, targets, num_outputs),
            criterion=criterion,
        )
    if not issubclass(kind, Regression):
        return build_one(**common)

    if num_outputs > 1:
        raise ValueError(
            f"the data have {num_outputs} numbers per sample, and a regression "
            f"predicts one: name a task of your own with task._target_=..."
        )
    loss_name = "mse"
    if not criterion and options["loss"]:
        loss_name = options["loss"]
    return build_one(
        **common,
        **_target_scale(config["dataset"].get("target_transform"), targets),
        loss_name=loss_name,
        criterion=criterion,
    )


def _target_scale(transform: str | None, targets: torch.Tensor) -> dict[str, Any]:
    """The options of a regression that say how its targets are standardized."""
    scale: dict[str, Any] = {}
    if transform is not None:
        targets = TARGET_TRANSFORMS[transform].apply(targets)
        scale["target_transform"] = transform
    mean = float(targets.mean())
    std = float(targets.std(correction=0))
    if not std > 0:
        std = 1.0
    return scale | {"target_mean": mean, "target_std": std}


def task_class(options: dict, is_classification: bool) -> type[Task]:
    """The class of the task: ours, or the one that `task._target_` names.

    Args:
        options: the `task` group of a resolved configuration.
        is_classification: whether the data have classes.

    Raises:
        ValueError: it is no task, or one for other data.
    """
    ours: type[Task] = Regression
    others: type[Task] = Classification
    if is_classification:
        ours, others = others, ours
    target = options.get("_target_")
    if target is None:
        return ours
    kind = get_class(target)
    if not issubclass(kind, Task):
        raise ValueError(
            f"task._target_ must be a class derived from normlab.training.tasks.Task, "
            f"got {target!r}"
        )
    if issubclass(kind, others):
        raise ValueError(
            f"task._target_ must not be a {others.__name__} for data with "
            f"dataset.task={ours.__name__.lower()}, got {target!r}"
        )
    if not issubclass(kind, ours):
        _refuse_others(options, OF_OURS, "for a task with a loss of its own")
    return kind


def _builder_of_task(options: dict, kind: type[Task]) -> Callable[..., Task]:
    """A function from the arguments of every task to the task.

    A class of the user's own also gets what `task` has beyond our options.
    """
    if options.get("_target_") is None:
        return kind
    ours = set(defaults()["task"]) - {"_target_"}
    own = {key: value for key, value in options.items() if key not in ours}
    builder = build(own | {"_partial_": True})

    def build_own_task(**arguments: Any) -> Task:
        try:
            task: Task = builder(**arguments)
        except TypeError as error:
            raise ValueError(
                f"task._target_={own['_target_']} cannot be built: {error}"
            ) from error
        return task

    return build_own_task


def check_task_options(options: dict, is_classification: bool) -> None:
    """Refuse options that only the other kind of task has.

    Args:
        options: the `task` group of a resolved configuration.
        is_classification: whether classes are predicted, not numbers.

    Raises:
        ValueError: names the option.
    """
    loss = options["loss"]
    is_ours = not is_named(loss)
    if is_classification and is_ours and loss not in (None, "cross_entropy"):
        raise ValueError(
            f"task.loss must be cross_entropy for classification, or have a _target_, "
            f"got {loss!r}"
        )
    if not is_classification and options["softmax_before_loss"]:
        raise ValueError(
            "task.softmax_before_loss must be false for regression, which has no "
            "softmax, got true"
        )
    if not is_classification:
        _refuse_others(options, OF_CLASSES, "for regression, which has no classes")
    if not is_ours:
        _refuse_others(options, OF_CROSS_ENTROPY, "beside a loss with a _target_")


def _refuse_others(options: dict, defaults: dict[str, Any], why: str) -> None:
    """Refuse options of a task that have other values than their defaults."""
    for key, default in defaults.items():
        value = options.get(key, default)
        if value != default:
            wanted = "null" if default is None else default
            raise ValueError(f"task.{key} must be {wanted} {why}, got {value!r}")
