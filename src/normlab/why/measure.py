"""All measures of one run, along a second training and before and after it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from normlab.data.blocks import Block, Part, spread
from normlab.device.devices import evaluation_context, scoring_device
from normlab.endings import Diverged
from normlab.evaluation.batch_loss import (
    BatchLoss,
    difference,
    length,
    trained_parameters,
)
from normlab.evaluation.evaluate import (
    load_best,
    prepare_stored,
    read_stored,
)
from normlab.evaluation.gradients_by_depth import (
    growth_per_layer,
    squared_gradients_by_depth,
)
from normlab.evaluation.weight_layers import WeightLayer, weight_layers
from normlab.norms.conventions import running_mean_of
from normlab.training.recalibration import training_batches
from normlab.why.again import Step, steps_of_run, train_again
from normlab.why.covariate_shift import covariate_shift, spread_out
from normlab.why.film import film_frame, frame_steps
from normlab.why.landscape import MULTIPLES, walk_along_gradient
from normlab.why.surface import filter_normalized_direction, loss_surface

MOST_LAYERS = 4  # of which the covariate shift is measured
BATCHES = 10  # over which gradients by depth and batch statistics are averaged


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        steps: steps of the second training; at most those of the run.
        points: number of these steps at which is measured, evenly spaced.
        frames: largest number of frames of the film.
        samples: training samples over which the loss surface is computed, spread
            evenly over all.
        grid: points along each side of the loss surface, an odd number, so that one of
            them is the best state.
        seed: seed of the directions of the loss surface.
    """

    steps: int = 200
    points: int = 25
    frames: int = 6
    samples: int = 512
    grid: int = 21
    seed: int = 0

    def __post_init__(self) -> None:
        smallest = {"steps": 1, "points": 1, "frames": 2, "samples": 2, "grid": 3}
        for name, least in smallest.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.grid % 2 == 0:
            raise ValueError(
                f"grid must be odd, so that the best state is a point of the loss "
                f"surface, got {self.grid}"
            )


@dataclass(frozen=True)
class RunMeasures:
    """What was measured of one run.

    Attributes:
        name: name of the run folder.
        arm: the arm that it belongs to.
        batch_size: samples of a batch.
        steps: steps that the second training made.
        samples: training samples of the loss surface.
        tables: numbers by measure: `landscape`, `covariate_shift`, `depth`, `surface`
            and `film`. A measure that the run does not have is missing.
        growth: factor by which squared gradients grow per layer; NaN if unknown.
        notes: what is missing and why, one sentence each.
        seed: seed of the directions of the loss surface.
    """

    name: str
    arm: str
    batch_size: int
    steps: int
    samples: int
    tables: dict[str, pd.DataFrame]
    growth: float
    notes: list[str] = field(default_factory=list)
    seed: int = 0


class Subject:
    """A run with its untrained network, ready to be measured.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.
    """

    def __init__(self, folder: Path, trusted: Sequence[str]) -> None:
        self.folder = folder
        self.config, self.prepared = prepare_stored(folder, trusted)
        accelerator = self.prepared.device.accelerator
        self.device = scoring_device(accelerator)
        self.context = evaluation_context(self.prepared.device.precision, self.device)
        self.prepared.task.network.to(self.device)
        # Measures compute with a copy, so that training is not disturbed.
        self.network = deepcopy(self.prepared.task.network)
        self.train: Part = self.prepared.parts.train.to(self.device)
        self.layers: list[WeightLayer] = weight_layers(
            self.network, self.batches(1)[0].inputs
        )

    def batches(self, count: int) -> list[Block]:
        """The first batches of the run."""
        return list(training_batches(self.config, self.train, count))

    def batch_loss(self, batch: Block, buffers: dict) -> BatchLoss:
        """The training loss on a batch."""
        return BatchLoss(
            self.network,
            self.prepared.task.loss,
            batch.inputs,
            batch.targets,
            buffers,
            self.context,
        )


def measure_run(
    folder: Path, arm: str, settings: Settings, trusted: Sequence[str] = ()
) -> RunMeasures:
    """Measure a stored run in all ways in which it can be measured.

    Args:
        folder: the run folder.
        arm: the name of its arm.
        settings: how much is measured.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages.
    """
    subject = Subject(folder, trusted)
    notes: list[str] = []
    tables = {}
    depth = measure_depth(subject)
    growth = float("nan")
    if len(depth) > 2:
        growth = growth_per_layer(depth["squared_gradient"].to_numpy()[:-1])
        tables["depth"] = depth
    else:
        notes.append(
            f"{arm} has {len(depth)} layers with trained weights; gradients by depth "
            f"need at least 2 before the output layer."
        )
    along, steps, found = measure_along_training(subject, settings)
    tables |= along
    notes += [f"{arm}: {sentence}" for sentence in found]
    try:
        tables["surface"], samples = measure_surface(subject, settings)
    except ValueError as error:
        samples = 0
        notes.append(f"{arm} has no loss surface: {error}.")
    return RunMeasures(
        name=folder.name,
        arm=arm,
        batch_size=subject.config["dataset"]["batch_size"],
        steps=steps,
        samples=samples,
        tables=tables,
        growth=growth,
        notes=notes,
        seed=settings.seed,
    )


def measure_depth(subject: Subject) -> pd.DataFrame:
    """Squared gradients of the outputs of all weight layers before training."""
    squares = squared_gradients_by_depth(
        subject.network,
        subject.prepared.task.loss,
        subject.batches(BATCHES),
        subject.layers,
        subject.context,
    )
    names = [layer.name for layer in subject.layers]
    places = range(1, len(names) + 1)
    columns = {"depth": places, "layer": names, "squared_gradient": squares}
    return pd.DataFrame(columns)


def measure_along_training(
    subject: Subject, settings: Settings
) -> tuple[dict[str, pd.DataFrame], int, list[str]]:
    """Train again, and measure landscape, covariate shift and statistics on the way.

    Returns:
        Tables by measure; the number of steps that were made; and what is missing, one
        sentence each.
    """
    config = subject.config
    last = min(settings.steps, steps_of_run(config, subject.prepared))
    measured = measured_steps(last, settings.points)
    frames = frame_steps(last, settings.frames)
    landscape: list[dict[str, Any]] = []
    shifts: list[dict[str, Any]] = []
    film = Film(subject)
    film.add(0)
    layers = spread_out(subject.layers, MOST_LAYERS)
    notes = []
    try:
        for step in train_again(config, subject.prepared, last, {*measured, *frames}):
            if step.number in measured:
                landscape += landscape_rows(subject, step)
                shifts += shift_rows(subject, step, layers)
            if step.number in frames:
                film.add(step.number, step)
    except Diverged as error:
        last = error.step
        notes.append(f"{error}, where its pictures end.")

    if not layers:
        notes.append("internal covariate shift needs a layer that others precede.")
    if not film.frames:
        notes.append("its norm keeps no running mean and variance, so it has no film.")
    tables = {"landscape": landscape, "covariate_shift": shifts}
    found = {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}
    if film.frames:
        found["film"] = pd.concat(film.frames, ignore_index=True)
    return found, last, notes


def measured_steps(last: int, points: int) -> list[int]:
    """Numbers of steps, evenly spaced from the first to the last."""
    spaced = np.linspace(1, last, min(points, last)).round().astype(int)
    return sorted(set(spaced.tolist()))


def landscape_rows(subject: Subject, step: Step) -> list[dict[str, Any]]:
    """One row: what is met along the gradient at a step; none without a gradient."""
    batch_loss = subject.batch_loss(step.batch, step.buffers)
    made = length(difference(step.after, step.before))
    if not 0 < made < float("inf"):
        return []
    distances = [multiple * made for multiple in MULTIPLES]
    try:
        walk = walk_along_gradient(batch_loss, step.before, distances)
    except ValueError:  # the gradient vanishes, and with it the direction
        return []
    row = {
        "step": step.number,
        "loss": walk.loss,
        "loss_min": walk.losses.min(),
        "loss_max": walk.losses.max(),
        "gradient_norm": walk.gradient_norm,
        "gradient_change_min": walk.gradient_changes.min(),
        "gradient_change_max": walk.gradient_changes.max(),
        "smoothness": walk.smoothness,
        "step_length": made,
    }
    return [row]


def shift_rows(
    subject: Subject, step: Step, layers: list[WeightLayer]
) -> list[dict[str, Any]]:
    """One row per layer: its internal covariate shift at a step."""
    batch_loss = subject.batch_loss(step.batch, step.buffers)
    shifts = covariate_shift(batch_loss, layers, step.before, step.after)
    return [{"step": step.number, **asdict(shift)} for shift in shifts]


class Film:
    """Frames of running statistics beside those of batches.

    Args:
        subject: the run. Its copy of the network gets the state of every frame.

    Attributes:
        frames: tables from `film_frame` with a column `step`.
    """

    def __init__(self, subject: Subject) -> None:
        self.network = subject.network
        self.batches = subject.batches(BATCHES)
        self.layers = {
            name: self.network.get_submodule(name)
            for name, layer in subject.prepared.norm_layers.items()
            if running_mean_of(layer) is not None
        }
        self.frames: list[pd.DataFrame] = []

    def add(self, number: int, step: Step | None = None) -> None:
        """Add the frame after a step; None for the state before the first."""
        if not self.layers:
            return
        if step is not None:
            load_state(self.network, step.after | step.buffers_after)
        frame = film_frame(self.network, self.layers, self.batches)
        if not frame.empty:
            frame.insert(0, "step", number)
            self.frames.append(frame)


@torch.no_grad()
def load_state(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Write parameters and buffers into a network."""
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    for name, value in state.items():
        own[name].data.copy_(value)


def measure_surface(subject: Subject, settings: Settings) -> tuple[pd.DataFrame, int]:
    """The loss on a plane through the best state of a run.

    Returns:
        One row per point of the plane, and the number of samples.

    Raises:
        ValueError: the run has no best state, or no weights.
    """
    state = load_best(subject.folder, read_stored(subject.folder))
    network = subject.network
    network.load_state_dict(state["network"])
    parameters = trained_parameters(network)
    names = [name for layer in subject.layers for name in layer.weights]
    if not names:
        raise ValueError("its network has no trained weights")
    generator = torch.Generator().manual_seed(settings.seed)
    first = filter_normalized_direction(parameters, names, generator)
    second = filter_normalized_direction(parameters, names, generator)

    train = subject.train
    rows = spread(train.rows, settings.samples)
    batch = Block(train.evaluation_inputs(rows), train.targets[rows], len(rows))
    positions = np.linspace(-1, 1, settings.grid)
    losses = loss_surface(
        subject.batch_loss(batch, {}), parameters, (first, second), list(positions)
    )
    b, a = np.meshgrid(positions, positions, indexing="ij")
    table = pd.DataFrame({"a": a.ravel(), "b": b.ravel(), "loss": losses.ravel()})
    return table, len(rows)
