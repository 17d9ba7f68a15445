"""The network of a stored run with what its inputs and outputs mean."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from normlab.checksums import best_checkpoint, check_file
from normlab.config.targets import check_homes
from normlab.data.notes import note_once
from normlab.data.stored_inputs import (
    INPUTS,
    StoredInputs,
    class_names,
    inputs_from,
    read_inputs,
)
from normlab.device.devices import evaluation_context, set_threads
from normlab.evaluation.evaluate import (
    load_best,
    prepare_stored,
    read_classes,
    read_run,
)
from normlab.evaluation.rebuilding import norm_here
from normlab.mistakes import MISTAKES, explain
from normlab.predict.bounds import build_bounded
from normlab.training.build import build_task
from normlab.training.regression import Regression
from normlab.training.tasks import Task


@dataclass(frozen=True)
class Predictor:
    """Predicts samples as the data set of a run stores them.

    Attributes:
        config: the configuration of the run.
        inputs: how samples become inputs of the network.
        task: the task of the run, with the best network in evaluation mode.
        classes: the name of every output; empty for a regression.
    """

    config: dict[str, Any]
    inputs: StoredInputs
    task: Task
    classes: tuple[str, ...]

    @property
    def network(self) -> nn.Module:
        """The network with its best weights and buffers, in evaluation mode."""
        return self.task.network.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        for value in self.task.network.parameters():
            return value.device
        return torch.device("cpu")

    @torch.inference_mode()
    def predict(self, samples: Any) -> Tensor:
        """Predict samples in the form in which the data set stores them.

        Args:
            samples: a tensor or an array ``(N, ...)``, such as uint8 images
                ``(N, C, H, W)`` or the encoded columns of a table ``(N, F)``.

        Returns:
            Probabilities ``(N, K)`` of the classes, or values ``(N,)`` in the units of
            the targets, on the CPU.

        Raises:
            ValueError: the samples have another shape.
        """
        inputs = self.inputs.prepared(torch.as_tensor(samples).to(self.device))
        with self._context():
            outputs = self.network(inputs)
        values = self.task.predictions_from(outputs.float()).cpu()
        if self.is_double:
            assert self.inputs.target is not None
            return values.double() + self.inputs.target["offset"]
        return values

    @property
    def is_double(self) -> bool:
        """Whether predictions have an offset, since float32 cannot represent them."""
        target = self.inputs.target
        return target is not None and target["offset"] != 0

    def _context(self) -> AbstractContextManager[Any]:
        precision = self.config["device"]["precision"]
        context: Callable[[], AbstractContextManager[Any]]
        context = evaluation_context(precision, self.device)
        return context()


def load_predictor(folder: Path, trusted: Sequence[str] = ()) -> Predictor:
    """Load the best network of a stored run, and how its inputs are prepared.

    Nothing in the folder is called, apart from packages that are trusted by name, and
    no more memory is taken than its files account for.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the folder holds no run, a damaged one, or one that calls other
            packages; or it was stored without `inputs.json`, and its data set cannot be
            read.
    """
    result, config = read_run(folder, trusted)
    check_homes(config)
    state = load_best(folder, result)
    inputs = _inputs(folder, result, trusted)
    path = best_checkpoint(folder)
    buildable = config | {"norm": norm_here(config)}
    try:
        size = path.stat().st_size
        network = build_bounded(buildable, inputs, state["network"], size)
        task = _task(config, network, inputs)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    classes: tuple[str, ...] = ()
    if config["dataset"]["task"] == "classification":
        names = read_classes(folder, result)
        classes = class_names(names, inputs.num_outputs)
    if len(classes) > inputs.num_outputs:
        raise ValueError(
            f"{folder}: result.json names {len(classes)} classes, the network has "
            f"{inputs.num_outputs} outputs"
        )
    set_threads(config["device"]["threads"], float("inf"))
    return Predictor(config, inputs, task, classes)


def _inputs(
    folder: Path, result: dict[str, Any], trusted: Sequence[str]
) -> StoredInputs:
    """What the run stored of its inputs, or what its data set says."""
    path = folder / INPUTS
    try:
        inputs = read_inputs(path)
    except FileNotFoundError:
        return _rebuilt(folder, trusted)
    check_file(path, result)
    return inputs


def _rebuilt(folder: Path, trusted: Sequence[str]) -> StoredInputs:
    """The inputs of a run that was stored before there was `inputs.json`."""
    missing = f"{folder} has no {INPUTS}, since an earlier version stored it"
    try:
        _, prepared = prepare_stored(folder, trusted)
    except (*MISTAKES, OSError) as error:
        why = explain(error)
        raise ValueError(
            f"{missing}, and its data set, which says the same, cannot be read: {why}"
        ) from error
    note_once(f"{missing}; its data set is read instead")
    return inputs_from(prepared.inputs)


def _task(config: dict[str, Any], network: nn.Module, inputs: StoredInputs) -> Task:
    """The task, of which neither the loss nor the optimizer is used."""
    options = config | {"task": config["task"] | {"class_weights": None}}
    targets = torch.tensor([1.0, 2.0])  # any two: their scale is replaced below
    task = build_task(options, network, 1, targets, inputs.num_outputs)
    if isinstance(task, Regression) != (inputs.target is not None):
        raise ValueError(f"{INPUTS} must be of a run with the same dataset.task")
    if isinstance(task, Regression) and inputs.target is not None:
        task.target_mean = inputs.target["mean"]
        task.target_std = inputs.target["std"]
    return task
